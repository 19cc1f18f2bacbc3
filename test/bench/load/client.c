/*
 * Drives flows through a proxy, in one thread: what each mode asks of the sink, when it ends, and the report. A run
 * stops beginning things after --seconds, finishes what it began, so that every byte counted was carried and was
 * right, and has failed after --limit.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/** Units asked for ahead in bulk modes: the sink must never wait for the client. */
#define AHEAD 2
/** Blocks one flow may move before the others have their turn. */
#define TURNS 8
/** What a reader that had stopped must still get, to show that nothing was lost. */
#define PROOF_BYTES (1024 * 1024)
#define PROOF_SECONDS 30.0
#define STALLED_RECEIVE_BUFFER (32 * 1024)
#define TICK_MS 50

/* Times in buckets of 1/128 of a power of two of nanoseconds: exact to 0.8 %, whatever their number. */
#define SUB_BITS 7
static uint64_t buckets[64 << SUB_BITS], measured;

static const struct options *given;
static int epoll, live, opening, holding, lost;
static uint64_t carried, finished, failed, started;
static double began, stop_at;
static enum { RUNNING, HOLDING, PROVING } phase;
static char complaint[200];

void complain(const char *format, ...) {
  if (complaint[0]) return;
  va_list values;
  va_start(values, format);
  vsnprintf(complaint, sizeof complaint, format, values);
  va_end(values);
  for (char *c = complaint; *c; c++)
    if (*c < ' ' || *c == '"' || *c == '\\' || *c > '~') *c = '\'';
}

static void record(double seconds) {
  uint64_t nanos = (uint64_t)(seconds * 1e9) | 1 << SUB_BITS;
  int shift = 63 - __builtin_clzll(nanos) - SUB_BITS;
  buckets[((uint64_t)shift << SUB_BITS) + (nanos >> shift)]++;
  measured++;
}

/** The middle of the bucket in which that share of all times ends, microseconds. */
static double percentile(double share) {
  uint64_t rank = (uint64_t)ceil(share * (double)measured), seen = 0;
  for (int i = 0; i < 64 << SUB_BITS; i++) {
    seen += buckets[i];
    if (buckets[i] == 0 || seen < rank) continue;
    int shift = i < 2 << SUB_BITS ? 0 : (i >> SUB_BITS) - 1;
    uint64_t low = (uint64_t)(i - (shift << SUB_BITS)) << shift;
    return ((double)low + ldexp(1, shift) / 2) / 1000;
  }
  return 0;
}

static bool over(void) { return now() >= stop_at; }

static void watch(struct flow *flow) {
  bool reading = !(given->mode == STALL && flow->held && phase != PROVING);
  bool writing = flow->queued_bytes > 0 || flow->payload > 0 || flow_flush(flow) != 0;
  uint32_t events = (reading ? EPOLLIN : 0) | (writing ? EPOLLOUT : 0);
  if (events == flow->events) return;
  flow->events = events;
  struct epoll_event event = {.events = events, .data.ptr = flow};
  if (epoll_ctl(epoll, EPOLL_CTL_MOD, flow->fd, &event)) die("epoll_ctl");
}

static void queue(struct flow *flow, char operation, uint64_t bytes) {
  flow->queued[flow->queued_bytes] = (uint8_t)operation;
  memcpy(flow->queued + flow->queued_bytes + 1, &bytes, sizeof bytes);
  flow->queued_bytes += COMMAND_BYTES;
}

/** Asks for the next unit when there is room for it. */
static void ask(struct flow *flow) {
  while (flow->units < AHEAD && !flow->finishing && flow->payload == 0 && flow->queued_bytes == 0) {
    if (flow->asked && over()) {
      flow->finishing = true;
      if (given->mode != DUPLEX) return;
      /* Its answer says that the last upload arrived whole as well. */
      queue(flow, 'U', 0);
      flow->awaited += 1;
      return;
    }
    flow->asked = true;
    flow->units++;
    if (given->mode == DOWNLOAD) {
      queue(flow, 'D', given->unit);
      flow->awaited += given->unit;
      return;
    }
    queue(flow, given->mode == UPLOAD ? 'U' : 'B', given->unit);
    flow->payload = given->unit;
    flow->awaited += given->mode == UPLOAD ? 1 : given->unit;
  }
}

/** What a flow says first. */
static void speak(struct flow *flow) {
  switch (given->mode) {
    case DOWNLOAD:
    case UPLOAD:
    case DUPLEX: ask(flow); return;
    case STALL: queue(flow, 'S', 0); return;
    case CONNECT:
    case ECHO:
    case HOLD:
      queue(flow, 'E', 0);
      flow->queued[flow->queued_bytes++] = given->mode == CONNECT ? 'q' : 'p';
      return;
  }
}

static bool is_bulk(void) { return given->mode == DOWNLOAD || given->mode == UPLOAD || given->mode == DUPLEX; }

/** Sends commands and payload while the kernel takes them. BROKEN ends the flow. */
static int write_on(struct flow *flow) {
  for (int turn = 0; turn < TURNS; turn++) {
    if (flow->queued_bytes > 0) {
      ssize_t sent = flow_send(flow, flow->queued, (size_t)flow->queued_bytes);
      if (sent < 0) return sent == WOULD_BLOCK ? 0 : BROKEN;
      flow->queued_bytes -= (int)sent;
      memmove(flow->queued, flow->queued + sent, (size_t)flow->queued_bytes);
    } else if (flow->payload > 0) {
      size_t bytes = flow->payload < BLOCK_BYTES ? (size_t)flow->payload : BLOCK_BYTES;
      ssize_t sent = flow_send(flow, pattern_at(flow->up_at), bytes);
      if (sent < 0) return sent == WOULD_BLOCK ? 0 : BROKEN;
      flow->up_at += (uint64_t)sent;
      flow->payload -= (uint64_t)sent;
    } else {
      int flushed = flow_flush(flow);
      if (flushed != 0) return flushed == WOULD_BLOCK ? 0 : BROKEN;
      if (!is_bulk()) return 0;
      ask(flow);
      if (flow->queued_bytes == 0) return 0;
    }
  }
  /* Payload that ended with the last turn: nothing else may ever call again, when all that comes has come. */
  if (is_bulk() && flow->queued_bytes == 0 && flow->payload == 0 && flow_flush(flow) == 0) ask(flow);
  return 0;
}

/** One block of a bulk mode has come: 1 when the flow is complete. */
static int take_bulk(struct flow *flow, const uint8_t *block, size_t bytes) {
  if (bytes > flow->awaited) {
    complain("more came than was asked for");
    return BROKEN;
  }
  flow->awaited -= bytes;
  if (given->mode == UPLOAD) {
    if (bytes > 0 && block[0] != 'k') {
      complain("the sink's answer was bent");
      return BROKEN;
    }
    carried += bytes * given->unit;
    flow->units -= (int)bytes;
  } else {
    size_t payload = bytes;
    if (given->mode == DUPLEX && flow->finishing && flow->awaited == 0 && bytes > 0) {
      payload -= 1; /* the answer to the last command */
      if (block[payload] != 'k') {
        complain("the sink's answer was bent");
        return BROKEN;
      }
    }
    if (!pattern_holds(block, payload, flow->down_at)) {
      complain("bytes were lost, doubled or swapped at %llu", (unsigned long long)flow->down_at);
      return BROKEN;
    }
    uint64_t before = flow->down_at / given->unit;
    flow->down_at += payload;
    int units = (int)(flow->down_at / given->unit - before);
    flow->units -= units;
    carried += (uint64_t)units * given->unit * (given->mode == DUPLEX ? 2 : 1);
  }
  ask(flow);
  return flow->finishing && flow->awaited == 0 && flow->payload == 0 && flow->queued_bytes == 0 ? 1 : 0;
}

static int ping(struct flow *flow, char byte) {
  flow->began = now();
  flow->queued[flow->queued_bytes++] = (uint8_t)byte;
  return write_on(flow);
}

/** A block has come on an open flow: 1 when the flow is complete, 0 to go on, BROKEN. */
static int take(struct flow *flow, const uint8_t *block, size_t bytes) {
  if (bytes == 0) return 0;
  switch (given->mode) {
    case DOWNLOAD:
    case UPLOAD:
    case DUPLEX: return take_bulk(flow, block, bytes);
    case CONNECT:
      record(now() - flow->began);
      flow->answered = true;
      return 0;
    case ECHO:
      record(now() - flow->began);
      finished++;
      if (over()) return 1;
      return ping(flow, 'p');
    case HOLD:
      if (phase == PROVING) flow->answered = true;
      if (!flow->held) holding++, opening--;
      flow->held = true;
      return 0;
    case STALL:
      if (!pattern_holds(block, bytes, flow->down_at)) {
        complain("bytes were lost, doubled or swapped at %llu", (unsigned long long)flow->down_at);
        return BROKEN;
      }
      flow->down_at += bytes;
      if (phase == PROVING) return flow->down_at >= PROOF_BYTES ? 1 : 0;
      /* It flows: from here on nothing is read. */
      if (!flow->held) holding++, opening--;
      flow->held = true;
      return 0;
  }
  return BROKEN;
}

static void start(struct flow *flow) {
  memset(flow, 0, sizeof *flow);
  flow->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (flow->fd < 0) die("socket");
  prepare_socket(flow->fd);
  int small = STALLED_RECEIVE_BUFFER;
  if (given->mode == STALL && setsockopt(flow->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small)) die("SO_RCVBUF");
  flow->began = now();
  flow->events = EPOLLOUT;
  started++;
  live++;
  opening++;
  struct epoll_event event = {.events = EPOLLOUT, .data.ptr = flow};
  if (connect(flow->fd, (const struct sockaddr *)&given->proxy, sizeof given->proxy) && errno != EINPROGRESS) die("connect");
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, flow->fd, &event)) die("epoll_ctl");
}

static void finish(struct flow *flow, bool well) {
  bool keeps = given->mode == HOLD || given->mode == STALL;
  if (keeps && flow->held && !well) holding--, lost++;
  if (!flow->held) opening--;
  if (flow->shadow) shadow_close(flow->shadow);
  close(flow->fd);
  flow->fd = -1;
  live--;
  if (!well) failed++;
  else if (given->mode != ECHO) finished++;
  if (given->mode == CONNECT && !over() && failed < 1000) start(flow);
}

static int stand(struct flow *flow) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(flow->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) {
    complain("could not connect to the proxy: %s", strerror(error));
    return BROKEN;
  }
  return begin_handshake(flow, given);
}

/** Everything that one event may mean: 1 when the flow is complete, 0 to go on, BROKEN. */
static int handle(struct flow *flow, uint32_t events) {
  if (flow->state != OPEN) {
    int outcome = flow->state == CONNECTING ? stand(flow) : continue_handshake(flow, given);
    if (outcome == BROKEN || flow->state != OPEN) return outcome == BROKEN ? BROKEN : 0;
    if (given->mode == ECHO) flow->began = now();
    speak(flow);
    return write_on(flow);
  }
  if (events & EPOLLOUT && write_on(flow) == BROKEN) return BROKEN;
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return 0;
  for (int turn = 0; turn < TURNS; turn++) {
    const uint8_t *block;
    ssize_t got = flow_receive(flow, &block);
    if (got == WOULD_BLOCK) return 0;
    if (got == ENDED && flow->answered) return 1;
    if (got == ENDED) complain("the flow was closed before its end");
    if (got < 0) return BROKEN;
    int outcome = take(flow, block, (size_t)got);
    if (outcome != 0) return outcome;
    if (flow->queued_bytes > 0 && write_on(flow) == BROKEN) return BROKEN;
    if (given->mode == ECHO || given->mode == HOLD || given->mode == STALL) return 0;
  }
  return 0;
}

static void hold(void) {
  phase = HOLDING;
  printf("{\"event\":\"held\",\"flows\":%d,\"failed\":%llu,\"seconds\":%.3f,\"error\":\"%s\"}\n", holding,
         (unsigned long long)failed, now() - began, complaint);
  fflush(stdout);
}

/** Whoever started us has seen enough: every flow must show that it is alive. */
static void prove(struct flow *flows) {
  phase = PROVING;
  stop_at = now() + PROOF_SECONDS;
  for (int i = 0; i < given->connections; i++) {
    struct flow *flow = &flows[i];
    if (flow->fd < 0) continue;
    if (given->mode == HOLD && ping(flow, 'q') == BROKEN) finish(flow, false);
    else watch(flow);
  }
}

static void report(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  printf("{\"event\":\"done\",\"seconds\":%.6f,\"bytes\":%llu,\"finished\":%llu,\"failed\":%llu,\"unfinished\":%d,\"lost\":%d,"
         "\"measured\":%llu,\"p50Micros\":%.2f,\"p99Micros\":%.2f,\"cpuSeconds\":%.3f,\"error\":\"%s\"}\n",
         now() - began, (unsigned long long)carried, (unsigned long long)finished, (unsigned long long)failed, live, lost,
         (unsigned long long)measured, percentile(0.5), percentile(0.99), cpu, complaint);
}

int run_client(const struct options *options) {
  static struct epoll_event events[512];
  static char parent;
  given = options;
  bool keeps = options->mode == HOLD || options->mode == STALL;
  epoll = epoll_create1(0);
  struct epoll_event of_parent = {.events = EPOLLIN, .data.ptr = &parent};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &of_parent)) die("standard input must be a pipe");
  struct flow *flows = calloc((size_t)options->connections, sizeof *flows);
  if (!flows) die("calloc");
  for (int i = 0; i < options->connections; i++) flows[i].fd = -1;
  began = now();
  stop_at = began + options->seconds;
  double cut_at = began + options->limit;
  while (now() < cut_at) {
    while (started < (uint64_t)options->connections && (!keeps || opening < options->opening)) start(&flows[started]);
    if (keeps && phase == RUNNING && opening == 0 && started == (uint64_t)options->connections) hold();
    if (live == 0 && phase != HOLDING) break;
    if (phase == PROVING && over()) break;
    int ready = epoll_wait(epoll, events, 512, TICK_MS);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++) {
      if (events[i].data.ptr == &parent) {
        if (phase != HOLDING) return 1; /* nobody is there to read the report */
        epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        prove(flows);
        continue;
      }
      struct flow *flow = events[i].data.ptr;
      if (flow->fd < 0) continue; /* ended earlier in this round */
      int outcome = handle(flow, events[i].events);
      if (outcome != 0) finish(flow, outcome == 1);
      else watch(flow);
    }
  }
  if (live > 0) complain("not finished in time");
  report();
  return 0;
}
