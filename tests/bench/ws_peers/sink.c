// WebSocket clients, lest a slow one be what is measured.  sink PORT CLIENTS SECONDS count|latency|hold [PATH]
//
// count: prints the frames per second that all clients together have got, and the least that one has got.
// latency: each message is a time in ns since 1970; prints p50, p95, p99, worst in ms, and how many came.
// hold: says "open" once all are connected, and holds them for so long.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    int have;              // bytes of a frame's header, or of a small frame, that came before the rest of it
    unsigned char part[256];
    long long skip;        // bytes of a frame's payload that are still to come
    long long frames;
};

static char buffer[1 << 18];
static int is_latency;
static double *delays;
static long long delays_count, delays_room;

static long long now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what) { perror(what); exit(1); }

static const char *path = "/";

static int open_client(int port, const char *host_header) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    // Every client has a port of the loopback address it comes from: more than 28,000 need more addresses.
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char request[300];
    int size = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", path, host_header, port);
    if (write(fd, request, size) != size) fail("write");
    return fd;
}

// Read the answer byte by byte: what stands behind it is frames.
static void read_head(int fd) {
    char last[4] = "";
    char first[12];
    for (int n = 0;; n++) {
        char c;
        if (read(fd, &c, 1) != 1) fail("handshake");
        if (n < 12) first[n] = c;
        memmove(last, last + 1, 3);
        last[3] = c;
        if (!memcmp(last, "\r\n\r\n", 4)) break;
    }
    if (memcmp(first, "HTTP/1.1 101", 12)) { fprintf(stderr, "no upgrade: %.12s\n", first); exit(1); }
}

static void note_delay(const unsigned char *payload, int size) {
    char text[32] = "";
    memcpy(text, payload, size < 31 ? size : 31);
    if (delays_count == delays_room) {
        delays_room = delays_room ? delays_room * 2 : 1 << 16;
        delays = realloc(delays, delays_room * sizeof *delays);
    }
    delays[delays_count++] = (now_ns(CLOCK_REALTIME) - atoll(text)) / 1e6;
}

// Take what came apart into frames; only small ones are looked into.
static void take(struct client *c, const unsigned char *data, long long size) {
    while (size > 0) {
        if (c->skip) {
            long long n = c->skip < size ? c->skip : size;
            c->skip -= n; data += n; size -= n;
            continue;
        }
        const unsigned char *frame = data;
        long long there = size;
        if (c->have) {  // join it with what came before
            int room = (int)sizeof c->part - c->have, n = size < room ? (int)size : room;
            memcpy(c->part + c->have, data, n);
            frame = c->part; there = c->have + n;
        }
        int header = there < 2 ? 2 : frame[1] == 126 ? 4 : frame[1] == 127 ? 10 : 2;
        long long length = 0;
        if (there >= header) {
            length = frame[1];
            if (header > 2) { length = 0; for (int i = 2; i < header; i++) length = length << 8 | frame[i]; }
        }
        int wanted = there < header ? header : is_latency ? header + (int)length : header;
        if (there < wanted) {
            if (!c->have) { memcpy(c->part, data, size); c->have = (int)size; } else c->have = (int)there;
            return;
        }
        if ((frame[0] & 15) == 8) { fprintf(stderr, "closed by the server\n"); exit(1); }
        if ((frame[0] & 15) < 3) { c->frames++; if (is_latency) note_delay(frame + header, (int)length); }
        long long used = wanted - c->have;
        data += used; size -= used;
        c->have = 0;
        c->skip = header + length - wanted;
    }
}

static int by_size(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    int port = atoi(argv[1]), count = atoi(argv[2]);
    double seconds = atof(argv[3]);
    if (argc > 5) path = argv[5];
    is_latency = !strcmp(argv[4], "latency");
    struct client *clients = calloc(count, sizeof *clients);
    int set = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        clients[i].fd = open_client(port, "127.0.0.1");
        read_head(clients[i].fd);
        fcntl(clients[i].fd, F_SETFL, O_NONBLOCK);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};
        epoll_ctl(set, EPOLL_CTL_ADD, clients[i].fd, &e);
    }
    printf("open\n");
    fflush(stdout);
    long long start = now_ns(CLOCK_MONOTONIC), warm = start + 300000000LL, end = warm + (long long)(seconds * 1e9);
    int is_warm = 0;
    struct epoll_event events[256];
    while (now_ns(CLOCK_MONOTONIC) < end) {
        int n = epoll_wait(set, events, 256, 50);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            long got = read(c->fd, buffer, sizeof buffer);
            if (got == 0) { fprintf(stderr, "the server has gone\n"); return 1; }
            if (got > 0) take(c, (unsigned char *)buffer, got);
        }
        if (!is_warm && now_ns(CLOCK_MONOTONIC) >= warm) {
            is_warm = 1;
            start = now_ns(CLOCK_MONOTONIC);
            delays_count = 0;
            for (int i = 0; i < count; i++) clients[i].frames = 0;
        }
    }
    double took = (now_ns(CLOCK_MONOTONIC) - start) / 1e9;
    if (is_latency) {
        qsort(delays, delays_count, sizeof *delays, by_size);
        if (!delays_count) { fprintf(stderr, "nothing came\n"); return 1; }
        printf("%.3f %.3f %.3f %.3f %lld\n", delays[delays_count / 2], delays[delays_count * 95 / 100],
               delays[delays_count * 99 / 100], delays[delays_count - 1], delays_count);
        return 0;
    }
    long long sum = 0, least = -1;
    for (int i = 0; i < count; i++) {
        sum += clients[i].frames;
        if (least < 0 || clients[i].frames < least) least = clients[i].frames;
    }
    printf("%.0f %.0f\n", sum / took, least / took);
    return 0;
}
