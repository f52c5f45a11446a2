// Loads as many libraries as it is told, and works in each of them in turn.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    (void)argc;
    int count = atoi(argv[2]);
    void (**busy)(long) = calloc(count, sizeof *busy);
    for (int n = 0; n < count; n++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/lib%d.so", argv[1], n);
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!library) return 1;
        busy[n] = (void (*)(long))dlsym(library, "busy");
    }
    for (int n = 0;; n = (n + 1) % count) busy[n](1000000);
}
