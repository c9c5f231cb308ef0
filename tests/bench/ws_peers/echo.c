// A closed loop of WebSocket echoes: each connection sends a message, reads it back, and sends the next.
//
//     echo PORT CONNECTIONS SIZE_BYTES SECONDS   ->   prints round trips per second
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client { int fd; size_t sent, got; };

static size_t sent_size, got_size;  // of a frame to the server, with a mask, and of one from it
static unsigned char *frame, *buffer;

static void die(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void push(struct client *c) {
    while (c->sent < sent_size) {
        ssize_t n = send(c->fd, frame + c->sent, sent_size - c->sent, MSG_NOSIGNAL);
        if (n < 0) { if (errno == EAGAIN) return; die("send"); }
        c->sent += n;
    }
}

static int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char request[300], last[4] = "", c;
    int n = snprintf(request, sizeof request,
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", port);
    if (write(fd, request, n) != n) die("write");
    while (memcmp(last, "\r\n\r\n", 4)) {
        if (read(fd, &c, 1) != 1) die("handshake");
        memmove(last, last + 1, 3);
        last[3] = c;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int port = atoi(argv[1]), count = atoi(argv[2]);
    size_t size = atol(argv[3]);
    double seconds = atof(argv[4]);
    frame = malloc(size + 14);
    buffer = malloc(1 << 20);
    // Binary, in one frame, with a 64-bit length; the mask is not 0, or unmasking could be left out.
    unsigned char head[14] = {0x82, 0xff, 0, 0, 0, 0, size >> 24, size >> 16, size >> 8, size, 0x37, 0xfa, 0x21, 0x3d};
    memcpy(frame, head, 14);
    memset(frame + 14, 'x', size);
    sent_size = size + 14;
    got_size = size + (size > 65535 ? 10 : size > 125 ? 4 : 2);
    struct client *clients = calloc(count, sizeof *clients);
    int set = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        clients[i].fd = connect_to(port);
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &clients[i]};
        epoll_ctl(set, EPOLL_CTL_ADD, clients[i].fd, &e);
    }
    long long done = 0;
    double start = now(), end = start + seconds;
    struct epoll_event events[64];
    while (now() < end) {
        int n = epoll_wait(set, events, 64, 100);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            push(c);
            for (;;) {
                ssize_t got = read(c->fd, buffer, 1 << 20);
                if (got == 0) { fprintf(stderr, "the server has gone\n"); return 1; }
                if (got < 0) { if (errno == EAGAIN) break; die("read"); }
                c->got += got;
                if (c->got > got_size) { fprintf(stderr, "more came back than was sent\n"); return 1; }
                if (c->got == got_size) { done++; c->got = c->sent = 0; push(c); }
            }
        }
    }
    printf("%.1f\n", done / (now() - start));
    return 0;
}
