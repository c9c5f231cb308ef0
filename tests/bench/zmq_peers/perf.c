/* What libzmq's own perf tools do (perf/remote_lat.cpp, local_lat.cpp, remote_thr.cpp, local_thr.cpp), in one program:

     perf local_lat  BIND    SIZE COUNT    answer
     perf remote_lat CONNECT SIZE COUNT    ask; print microseconds per round trip: twice what libzmq's tool prints
     perf local_thr  BIND    SIZE COUNT    take; print messages per second
     perf remote_thr CONNECT SIZE COUNT    push

   Those that bind print their endpoint first. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static void check(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s: %s\n", what, zmq_strerror(errno));
        exit(1);
    }
}

static void say_endpoint(void *sock)
{
    char endpoint[256];
    size_t length = sizeof endpoint;
    check(zmq_getsockopt(sock, ZMQ_LAST_ENDPOINT, endpoint, &length) == 0, "zmq_getsockopt");
    puts(endpoint);
    fflush(stdout);
}

static void answer(void *sock, int count)
{
    zmq_msg_t msg;
    check(zmq_msg_init(&msg) == 0, "zmq_msg_init");
    for (int i = 0; i != count; i++) {
        check(zmq_msg_recv(&msg, sock, 0) >= 0, "zmq_msg_recv");
        check(zmq_msg_send(&msg, sock, 0) >= 0, "zmq_msg_send");
    }
}

static void ask(void *sock, size_t size, int count)
{
    zmq_msg_t msg;
    check(zmq_msg_init_size(&msg, size) == 0, "zmq_msg_init_size");
    memset(zmq_msg_data(&msg), 0, size);
    void *watch = zmq_stopwatch_start();
    for (int i = 0; i != count; i++) {
        check(zmq_msg_send(&msg, sock, 0) >= 0, "zmq_msg_send");
        check(zmq_msg_recv(&msg, sock, 0) == (int)size, "zmq_msg_recv");
    }
    printf("%.3f\n", (double)zmq_stopwatch_stop(watch) / count);
}

static void push(void *sock, size_t size, int count)
{
    for (int i = 0; i != count; i++) {
        zmq_msg_t msg;
        check(zmq_msg_init_size(&msg, size) == 0, "zmq_msg_init_size");
        check(zmq_msg_send(&msg, sock, 0) >= 0, "zmq_msg_send");
    }
}

static void take(void *sock, int count)
{
    zmq_msg_t msg;
    check(zmq_msg_init(&msg) == 0, "zmq_msg_init");
    check(zmq_msg_recv(&msg, sock, 0) >= 0, "zmq_msg_recv");
    void *watch = zmq_stopwatch_start();
    for (int i = 0; i != count - 1; i++)
        check(zmq_msg_recv(&msg, sock, 0) >= 0, "zmq_msg_recv");
    printf("%.0f\n", (count - 1) / ((double)zmq_stopwatch_stop(watch) / 1e6));
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    const char *role = argv[1], *endpoint = argv[2];
    size_t size = strtoul(argv[3], NULL, 10);
    int count = atoi(argv[4]), binds = strncmp(role, "local", 5) == 0, is_latency = strstr(role, "_lat") != NULL;
    void *context = zmq_ctx_new();
    void *sock = zmq_socket(context, is_latency ? (binds ? ZMQ_REP : ZMQ_REQ) : (binds ? ZMQ_PULL : ZMQ_PUSH));
    check(sock != NULL, "zmq_socket");
    check((binds ? zmq_bind : zmq_connect)(sock, endpoint) == 0, endpoint);
    if (binds)
        say_endpoint(sock);
    if (is_latency && binds)
        answer(sock, count);
    else if (is_latency)
        ask(sock, size, count);
    else if (binds)
        take(sock, count);
    else
        push(sock, size, count);
    zmq_close(sock);
    zmq_ctx_term(context);
    return 0;
}
