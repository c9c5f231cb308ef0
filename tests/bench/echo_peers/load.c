/* A closed-loop load: each connection sends a message, reads it back whole, and sends the next.
 *
 *     load PORT CONNECTIONS SIZE_BYTES SECONDS   ->   prints round trips per second
 *
 * Ends with 1 if a connection fails or if what comes back is not what was sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client { int fd; size_t sent, got; };

static size_t size;
static char *message, *buffer;

static void die(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void push(struct client *c) {
    while (c->sent < size) {
        ssize_t n = send(c->fd, message + c->sent, size - c->sent, MSG_NOSIGNAL);
        if (n < 0) { if (errno == EAGAIN) return; die("send"); }
        c->sent += n;
    }
}

int main(int argc, char **argv) {
    if (argc != 5) { fprintf(stderr, "usage: load PORT CONNECTIONS SIZE SECONDS\n"); return 2; }
    int count = atoi(argv[2]);
    size = atol(argv[3]);
    double seconds = atof(argv[4]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    message = malloc(size), buffer = malloc(size);
    for (size_t i = 0; i < size; i++) message[i] = (char)(i * 31 + i / 251);
    struct client *clients = calloc(count, sizeof *clients);
    int loop = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        if (connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        clients[i].fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
    }
    for (int i = 0; i < count; i++) push(&clients[i]);
    long done = 0;
    double start = now(), counted_from = start + seconds / 5, end = start + seconds;
    int counts = 0;
    struct epoll_event events[1024];
    for (;;) {
        double at = now();
        if (!counts && at >= counted_from) { counts = 1; done = 0; counted_from = at; }
        if (at >= end) { printf("%.0f\n", done / (at - counted_from)); return 0; }
        int ready = epoll_wait(loop, events, 1024, 100);
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            ssize_t n = recv(c->fd, buffer, size - c->got, 0);
            if (n <= 0) { if (n < 0 && errno == EAGAIN) continue; die("recv"); }
            if (memcmp(buffer, message + c->got, n)) { fprintf(stderr, "other bytes came back\n"); return 1; }
            c->got += n;
            if (c->got == size) { done++; c->got = c->sent = 0; }
            push(c);
        }
    }
}
