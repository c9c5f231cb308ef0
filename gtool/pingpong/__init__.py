"""zmq-pingpong: ZeroMQ round trips, to be watched and to be measured."""
