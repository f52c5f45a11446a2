// Known stacks: main → chain (20 times) → {large → hot 70 %, dynamic → cold 30 %}.
// With -DLIBRARY the work is in a shared object, with -DDLOPEN it is loaded by hand.
#include <alloca.h>
#include <stdint.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))
volatile uint64_t sink;

#ifndef DLOPEN
NOINLINE static void hot(uint64_t x) {
    for (int i = 0; i < 70000; i++) x = x * 6364136223846793005u + 1;
    sink = x;
}

NOINLINE static void cold(uint64_t x) {
    for (int i = 0; i < 30000; i++) x = x * 6364136223846793005u + 1;
    sink = x;
}

// A frame of 100 KB.
NOINLINE static int large(int n) {
    volatile char room[100000];
    room[n] = (char)n;
    hot((uint64_t)n);
    return room[n];
}

// A frame whose size is not known when compiling: the frame pointer is needed.
NOINLINE static int dynamic(int n) {
    char *room = alloca((size_t)n * 16 + 16);
    memset(room, n, (size_t)n * 16);
    cold((uint64_t)n);
    sink += (uint64_t)room[3];
    return room[n];
}

NOINLINE int chain(int n) {
    int result = n == 0 ? large(3) + dynamic(40) : chain(n - 1);
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
