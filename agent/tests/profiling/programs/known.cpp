// Known stacks in C++: a virtual call within a template, thrown through now and then.
#include <cstdint>
#include <memory>
#include <stdexcept>

#define NOINLINE __attribute__((noinline))
static volatile uint64_t sink;

// Each pass takes another time: passes of one length fall into step with the sampling clock,
// and the samples then show a part of the pass instead of its shares.
static uint64_t pass = 1;
static int rounds(void) {
    pass = pass * 6364136223846793005u + 1;
    return 500 + (int)(pass >> 33) % 1000;
}

NOINLINE static void hot(uint64_t x, int rounds) {
    for (int i = 0; i < 70 * rounds; i++) x = x * 6364136223846793005u + 1;
    sink = x;
}

NOINLINE static void cold(uint64_t x, int rounds) {
    for (int i = 0; i < 30 * rounds; i++) x = x * 6364136223846793005u + 1;
    sink = x;
}

struct Shape {
    virtual ~Shape() = default;
    virtual int area(int n) = 0;
};

template <typename T> struct Box : Shape {
    NOINLINE int area(int n) override {
        T room[64];
        room[n & 63] = static_cast<T>(n);
        int now = rounds();
        hot(n, now);
        cold(n, now);
        if (n % 100 == 99) throw std::runtime_error("now and then");
        return static_cast<int>(room[n & 63]);
    }
};

NOINLINE int chain(Shape &shape, int depth, int n) {
    int result = depth == 0 ? shape.area(n) : chain(shape, depth - 1, n);
    sink = sink + result;
    return result + 1;
}

int main() {
    std::unique_ptr<Shape> shape = std::make_unique<Box<double>>();
    for (int n = 0;; n++) {
        try {
            sink = sink + chain(*shape, 20, n);
        } catch (const std::exception &) {
            sink = sink + 1;
        }
    }
}
