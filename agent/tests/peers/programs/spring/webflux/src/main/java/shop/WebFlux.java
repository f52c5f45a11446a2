package shop;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.http.server.reactive.HttpHandler;
import org.springframework.web.server.adapter.WebHttpHandlerBuilder;
import org.springframework.context.ApplicationContext;

/** Serves the users with Spring WebFlux on Netty: --server.port=PORT. */
@SpringBootApplication
public class WebFlux {
    public static void main(String[] arguments) {
        SpringApplication.run(WebFlux.class, arguments);
    }

    /** Outside of all filters and handlers of errors: those of the framework are counted too. */
    @Bean
    HttpHandler httpHandler(ApplicationContext context) {
        var counts = new Counts();
        var inner = WebHttpHandlerBuilder.applicationContext(context).build();
        return (request, response) -> {
            var method = request.getMethod().name();
            var path = request.getPath().value();
            return inner.handle(request, response).doFinally(end -> {
                var status = response.getStatusCode();
                counts.add(method, path, status == null ? 200 : status.value());
            });
        };
    }
}
