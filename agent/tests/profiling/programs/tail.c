// Tail calls: `jumps` is not on the stack while `hot` runs, `calls` is.
#include <stdint.h>

#define NOINLINE __attribute__((noinline))
volatile uint64_t sink;

NOINLINE static uint64_t hot(uint64_t x) {
    for (int i = 0; i < 100000; i++) x = x * 6364136223846793005u + 1;
    sink = x;
    return x;
}

NOINLINE static uint64_t jumps(uint64_t x) { return hot(x + 1); }

NOINLINE static uint64_t calls(uint64_t x) { return jumps(x) + 1; }

int main(void) {
    for (;;) sink += calls(sink);
}
