package shop;

import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.DeleteMapping;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.PutMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestMapping;
import org.springframework.web.bind.annotation.RestController;

/** The users, as every server of this test offers them. */
@RestController
@RequestMapping("/api/v1/users")
public class Users {
    private static final int MOST = 900_000;

    public record User(int id, String name) {}

    @GetMapping("/{id}")
    public ResponseEntity<User> one(@PathVariable("id") int id) {
        if (id == 0) {
            return ResponseEntity.internalServerError().build();
        }
        return id > MOST ? ResponseEntity.notFound().build() : ResponseEntity.ok(new User(id, "user " + id));
    }

    @PutMapping("/{id}")
    public User put(@PathVariable("id") int id, @RequestBody User user) {
        return new User(id, user.name());
    }

    @DeleteMapping("/{id}")
    public ResponseEntity<Void> delete(@PathVariable("id") int id) {
        return ResponseEntity.noContent().build();
    }

    @PostMapping
    public ResponseEntity<User> create(@RequestBody User user) {
        return ResponseEntity.status(201).body(user);
    }
}
