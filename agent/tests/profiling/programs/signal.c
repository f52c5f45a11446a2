// Work in a signal handler: main → interrupted → (signal frame) → handler → hot.
#include <signal.h>
#include <stdint.h>
#include <sys/time.h>

#define NOINLINE __attribute__((noinline))
volatile uint64_t sink;

NOINLINE static void hot(uint64_t x) {
    for (int i = 0; i < 3000000; i++) x = x * 6364136223846793005u + 1;
    sink = x;
}

static void handler(int number) {
    hot((uint64_t)number);
    sink++;
}

NOINLINE static void interrupted(void) {
    for (;;) sink = sink * 3 + 1;
}

int main(void) {
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGALRM, &action, 0);
    struct itimerval every = {{0, 5000}, {0, 5000}};
    setitimer(ITIMER_REAL, &every, 0);
    interrupted();
}
