// Known stacks: main → chain (20 times) → {large → hot 70 %, dynamic → cold 30 %}.
// With -DLIBRARY the work is in a shared object, with -DDLOPEN it is loaded by hand.
#include <alloca.h>
#include <stdint.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))
volatile uint64_t sink;

#ifndef DLOPEN
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

// A frame of 100 KB.
NOINLINE static int large(int n, int rounds) {
    volatile char room[100000];
    room[n] = (char)n;
    hot((uint64_t)n, rounds);
    return room[n];
}

// A frame whose size is not known when compiling: the frame pointer is needed.
NOINLINE static int dynamic(int n, int rounds) {
    char *room = alloca((size_t)n * 16 + 16);
    memset(room, n, (size_t)n * 16);
    cold((uint64_t)n, rounds);
    sink += (uint64_t)room[3];
    return room[n];
}

NOINLINE int chain(int n) {
    int now = n == 0 ? rounds() : 0;
    int result = n == 0 ? large(3, now) + dynamic(40, now) : chain(n - 1);
    sink += (uint64_t)result;
    return result + 1;
}
#else
#include <dlfcn.h>
#endif

#ifndef LIBRARY
int main(int argc, char **argv) {
    (void)argc;
    (void)argv;
#ifdef DLOPEN
    int (*chain)(int) = (int (*)(int))dlsym(dlopen(argv[1], RTLD_NOW), "chain");
#endif
    for (;;) sink += (uint64_t)chain(20);
}
#endif
