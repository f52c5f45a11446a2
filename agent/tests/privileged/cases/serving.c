// An HTTP server with a cheap and an expensive endpoint that counts, by endpoint, the CPU
// time between reading a request and having sent its response. It is told how to serve:
//   one      one thread, one connection after the other
//   prefork  as above, in three processes
//   threads  a thread for each connection, which is kept
//   handoff  one thread receives, another one works and answers
// What it has counted so far is the answer to a request for any other path.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static unsigned long *counted; // microseconds: cheap, expensive; shared by processes
static int listener, handed[2];
static volatile unsigned long sink;

__attribute__((noinline)) static void work(unsigned long units) {
    for (unsigned long i = 0; i < units * 1000; i++) sink += i;
}

// Not getrusage(RUSAGE_THREAD): it tells what was accounted until the last tick or switch of
// threads, so of a stretch of work shorter than a tick it finds a share that grows with its
// length. This clock brings the account up to date first.
static unsigned long cpu(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return used.tv_sec * 1000000ul + used.tv_nsec / 1000;
}

// Requests come whole, and have no body. The first letter of the path; 0 at the end.
static char receive(int client) {
    char head[2048];
    ssize_t got = recv(client, head, sizeof head, 0);
    return got < 6 ? 0 : head[5];
}

static void answer(int client, char which) {
    char body[64] = "done", whole[256];
    if (which == 'c') work(2000);
    else if (which == 'e') work(6000);
    else snprintf(body, sizeof body, "%lu %lu", counted[0], counted[1]);
    int len = snprintf(whole, sizeof whole, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                       strlen(body), body);
    send(client, whole, len, MSG_NOSIGNAL);
}

static void count(char which, unsigned long before) {
    if (which == 'c' || which == 'e')
        __atomic_fetch_add(&counted[which == 'e'], cpu() - before, __ATOMIC_RELAXED);
}

static void serve(int client) {
    for (;;) {
        unsigned long before = cpu();
        char which = receive(client);
        if (!which) break;
        // A call that waited has used next to nothing.
        answer(client, which);
        count(which, before);
    }
    close(client);
}

static void *serve_thread(void *client) {
    serve((int)(long)client);
    return NULL;
}

static void *answer_handed(void *unused) {
    int client;
    while (read(handed[0], &client, sizeof client) == sizeof client) {
        answer(client, 'e');
        close(client);
    }
    return unused;
}

int main(int argc, char **argv) {
    const char *mode = argv[2];
    counted = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 64)) return 1;
    pthread_t thread;
    if (!strcmp(mode, "prefork")) {
        if (fork() != 0) fork();
    }
    if (!strcmp(mode, "handoff")) {
        if (pipe(handed) || pthread_create(&thread, NULL, answer_handed, NULL)) return 1;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) return 1;
        if (!strcmp(mode, "threads")) {
            pthread_create(&thread, NULL, serve_thread, (void *)(long)client);
            pthread_detach(thread);
        } else if (!strcmp(mode, "handoff")) {
            if (!receive(client)) {
                close(client);
                continue;
            }
            write(handed[1], &client, sizeof client) ? (void)0 : abort();
            // It goes on with something that has nothing to do with the request.
            work(500);
        } else {
            serve(client);
        }
    }
}
