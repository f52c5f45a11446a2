// Known stacks in C++: a virtual call within a template, thrown through now and then.
#include <cstdint>
#include <memory>
#include <stdexcept>

#define NOINLINE __attribute__((noinline))
static volatile uint64_t sink;

NOINLINE static void hot(uint64_t x) {
    for (int i = 0; i < 70000; i++) x = x * 6364136223846793005u + 1;
    sink = x;
}

NOINLINE static void cold(uint64_t x) {
    for (int i = 0; i < 30000; i++) x = x * 6364136223846793005u + 1;
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
        hot(n);
        cold(n);
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
