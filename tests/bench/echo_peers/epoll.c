#define _GNU_SOURCE
/* The echo server that C programmers write first: one epoll loop, non-blocking sockets, level-triggered.
 *
 *     epoll   ->   prints its port
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection { int fd; size_t length; char *rest; };  /* rest: what could not be sent yet */

int main(void) {
    static char buffer[65536];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), loop = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) { perror("bind"); return 1; }
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[1024];
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(loop, events, 1024, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) {
                int fd;
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    event.events = EPOLLIN;
                    event.data.ptr = calloc(1, sizeof *c);
                    ((struct connection *)event.data.ptr)->fd = fd;
                    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
                }
                continue;
            }
            if (c->length) {  /* waiting to write: nothing is read until that has gone */
                ssize_t n = send(c->fd, c->rest, c->length, MSG_NOSIGNAL);
                if (n < 0 && errno == EAGAIN) continue;
                if (n < 0) { close(c->fd); free(c->rest); free(c); continue; }
                c->length -= n;
                memmove(c->rest, c->rest + n, c->length);
                if (!c->length) {
                    free(c->rest);
                    c->rest = NULL;
                    event.events = EPOLLIN;
                    event.data.ptr = c;
                    epoll_ctl(loop, EPOLL_CTL_MOD, c->fd, &event);
                }
                continue;
            }
            ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) { close(c->fd); free(c); continue; }
            ssize_t sent = send(c->fd, buffer, got, MSG_NOSIGNAL);
            if (sent < 0 && errno != EAGAIN) { close(c->fd); free(c); continue; }
            if (sent < 0) sent = 0;
            if (sent < got) {
                c->length = got - sent;
                c->rest = malloc(c->length);
                memcpy(c->rest, buffer + sent, c->length);
                event.events = EPOLLOUT;
                event.data.ptr = c;
                epoll_ctl(loop, EPOLL_CTL_MOD, c->fd, &event);
            }
        }
    }
}
