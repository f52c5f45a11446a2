// Makes a function at run time, names it in /tmp/perf-PID.map by the id that this process
// knows itself by, and runs it for ever.
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// push %rbp; mov %rsp,%rbp; 1: dec %rdi; jnz 1b; pop %rbp; ret
static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xff,
                                     0xcf, 0x75, 0xfb, 0x5d, 0xc3};
volatile unsigned long rounds;

__attribute__((noinline)) void interpreter(void (*made)(long)) {
    for (;;) {
        made(1000000);
        rounds++;
    }
}

int main(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return 1;
    memcpy(page, code, sizeof code);
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(path, "w");
    if (!map) return 1;
    fprintf(map, "%lx %zx made_at_run_time of %d\n", (unsigned long)page, sizeof code, getpid());
    fclose(map);
    interpreter((void (*)(long))page);
}
