// Loads one library after the other, each for 300 ms.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    (void)argc;
    for (int n = 0;; n++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/lib%d.so", argv[1], n % 8);
        void *library = dlopen(path, RTLD_NOW);
        int (*chain)(int) = (int (*)(int))dlsym(library, "chain");
        for (double end = now() + 0.3; now() < end;) chain(20);
        dlclose(library);
    }
}
