/*
 * The client's side of a Shadowsocks stream with aes-256-gcm (SIP004, SIP007):
 *   salt(32) | sealed length(2 + 16) | sealed payload(n + 16) | sealed length | …
 * in each direction, with the target's address at the front of the client's first payload. The cipher is libcrypto's,
 * found at run time and declared here, since headers are not on every machine that has the library.
 */
#define _GNU_SOURCE
#include "load.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#define KEY_BYTES 32
#define SALT_BYTES 32
#define TAG_BYTES 16
#define NONCE_BYTES 12
#define LENGTH_UNIT (2 + TAG_BYTES)
#define MAX_PAYLOAD 0x3fff
#define MAX_CHUNK (LENGTH_UNIT + MAX_PAYLOAD + TAG_BYTES)
#define ADDRESS_BYTES 7
/** Chunks of one send: about as much as a plain block. */
#define BATCH 16
#define GET_TAG 0x10 /* EVP_CTRL_AEAD_GET_TAG */
#define SET_TAG 0x11

static struct {
  void *(*context)(void);
  void (*release)(void *);
  const void *(*aes_256_gcm)(void);
  const void *(*sha1)(void);
  int (*encrypt_init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
  int (*decrypt_init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
  int (*encrypt)(void *, uint8_t *, int *, const uint8_t *, int);
  int (*decrypt)(void *, uint8_t *, int *, const uint8_t *, int);
  int (*encrypt_final)(void *, uint8_t *, int *);
  int (*decrypt_final)(void *, uint8_t *, int *);
  int (*control)(void *, int, int, void *);
  uint8_t *(*hmac)(const void *, const void *, int, const uint8_t *, size_t, uint8_t *, unsigned *);
} crypto;

struct half {
  void *context;
  uint8_t nonce[NONCE_BYTES];
};

struct shadow {
  uint8_t key[KEY_BYTES], address[ADDRESS_BYTES];
  bool greeted; /* salt and address are sent */
  struct half up, down;
  uint8_t *pending; /* sealed and not taken by the kernel; NULL until needed */
  size_t pending_at, pending_bytes;
  uint8_t *carry; /* an unfinished chunk; NULL until needed */
  size_t carry_bytes;
};

void shadow_prepare(void) {
  static const char *const names[] = {"libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so", NULL};
  void *library = NULL;
  for (int i = 0; names[i] && !library; i++) library = dlopen(names[i], RTLD_NOW);
  if (!library) {
    fprintf(stderr, "load: no libcrypto for Shadowsocks: %s\n", dlerror());
    exit(3);
  }
  const struct {
    void *place;
    const char *name;
  } wanted[] = {{&crypto.context, "EVP_CIPHER_CTX_new"},     {&crypto.release, "EVP_CIPHER_CTX_free"},
                {&crypto.aes_256_gcm, "EVP_aes_256_gcm"},    {&crypto.sha1, "EVP_sha1"},
                {&crypto.encrypt_init, "EVP_EncryptInit_ex"}, {&crypto.decrypt_init, "EVP_DecryptInit_ex"},
                {&crypto.encrypt, "EVP_EncryptUpdate"},      {&crypto.decrypt, "EVP_DecryptUpdate"},
                {&crypto.encrypt_final, "EVP_EncryptFinal_ex"}, {&crypto.decrypt_final, "EVP_DecryptFinal_ex"},
                {&crypto.control, "EVP_CIPHER_CTX_ctrl"},    {&crypto.hmac, "HMAC"}};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    void *symbol = dlsym(library, wanted[i].name);
    if (!symbol) {
      fprintf(stderr, "load: libcrypto has no %s\n", wanted[i].name);
      exit(3);
    }
    memcpy(wanted[i].place, &symbol, sizeof symbol);
  }
}

/** HKDF-SHA1 (RFC 5869) with the info "ss-subkey", spelled out for 32 bytes. */
static void derive(const uint8_t *key, const uint8_t *salt, uint8_t *out) {
  uint8_t extracted[20], block[20 + 10] = "ss-subkey\1", first[20];
  unsigned size;
  crypto.hmac(crypto.sha1(), salt, SALT_BYTES, key, KEY_BYTES, extracted, &size);
  crypto.hmac(crypto.sha1(), extracted, 20, block, 10, first, &size);
  memcpy(out, first, 20);
  memcpy(block, first, 20);
  memcpy(block + 20, "ss-subkey\2", 10);
  crypto.hmac(crypto.sha1(), extracted, 20, block, 30, first, &size);
  memcpy(out + 20, first, KEY_BYTES - 20);
}

static void start(struct half *half, const uint8_t *key, const uint8_t *salt, bool sealing) {
  uint8_t session[KEY_BYTES];
  derive(key, salt, session);
  half->context = crypto.context();
  if (!half->context) die("EVP_CIPHER_CTX_new");
  memset(half->nonce, 0, NONCE_BYTES);
  if (!(sealing ? crypto.encrypt_init : crypto.decrypt_init)(half->context, crypto.aes_256_gcm(), NULL, session, half->nonce))
    die("EVP init");
}

static void next_nonce(struct half *half) {
  for (int i = 0; i < NONCE_BYTES && ++half->nonce[i] == 0; i++) continue;
}

/** Seals `bytes` of `data` to `out`, tag behind them. */
static void seal(struct half *half, const uint8_t *data, int bytes, uint8_t *out) {
  int made, rest;
  if (!crypto.encrypt_init(half->context, NULL, NULL, NULL, half->nonce) ||
      !crypto.encrypt(half->context, out, &made, data, bytes) || !crypto.encrypt_final(half->context, out + made, &rest) ||
      !crypto.control(half->context, GET_TAG, TAG_BYTES, out + bytes))
    die("sealing");
  next_nonce(half);
}

static bool unseal(struct half *half, uint8_t *data, int bytes, uint8_t *out) {
  int made, rest;
  if (!crypto.decrypt_init(half->context, NULL, NULL, NULL, half->nonce) ||
      !crypto.decrypt(half->context, out, &made, data, bytes) ||
      !crypto.control(half->context, SET_TAG, TAG_BYTES, data + bytes))
    die("opening");
  next_nonce(half);
  return crypto.decrypt_final(half->context, out + made, &rest) > 0;
}

struct shadow *shadow_open(const struct options *options) {
  struct shadow *shadow = calloc(1, sizeof *shadow);
  if (!shadow) die("calloc");
  memcpy(shadow->key, options->key, KEY_BYTES);
  shadow->address[0] = 1;
  memcpy(shadow->address + 1, &options->target.sin_addr, 4);
  memcpy(shadow->address + 5, &options->target.sin_port, 2);
  return shadow;
}

void shadow_close(struct shadow *shadow) {
  if (shadow->up.context) crypto.release(shadow->up.context);
  if (shadow->down.context) crypto.release(shadow->down.context);
  free(shadow->pending);
  free(shadow->carry);
  free(shadow);
}

/** Hands sealed bytes to the kernel and keeps what it does not take. */
static int hand_over(struct shadow *shadow, int fd, const uint8_t *sealed, size_t bytes) {
  ssize_t sent = send(fd, sealed, bytes, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return BROKEN;
  size_t taken = sent < 0 ? 0 : (size_t)sent;
  if (taken == bytes) return 0;
  if (!shadow->pending) shadow->pending = malloc(SALT_BYTES + BATCH * MAX_CHUNK);
  if (!shadow->pending) die("malloc");
  shadow->pending_at = 0;
  shadow->pending_bytes = bytes - taken;
  memcpy(shadow->pending, sealed + taken, bytes - taken);
  return 0;
}

int shadow_flush(struct shadow *shadow, int fd) {
  if (shadow->pending_bytes == 0) return 0;
  ssize_t sent = send(fd, shadow->pending + shadow->pending_at, shadow->pending_bytes, MSG_NOSIGNAL);
  if (sent < 0) return errno == EAGAIN ? WOULD_BLOCK : BROKEN;
  shadow->pending_at += (size_t)sent;
  shadow->pending_bytes -= (size_t)sent;
  return shadow->pending_bytes == 0 ? 0 : WOULD_BLOCK;
}

static size_t seal_chunk(struct half *half, const uint8_t *data, size_t bytes, uint8_t *out) {
  uint8_t length[2] = {(uint8_t)(bytes >> 8), (uint8_t)bytes};
  seal(half, length, 2, out);
  seal(half, data, (int)bytes, out + LENGTH_UNIT);
  return LENGTH_UNIT + bytes + TAG_BYTES;
}

ssize_t shadow_send(struct shadow *shadow, int fd, const uint8_t *data, size_t bytes) {
  static uint8_t sealed[SALT_BYTES + BATCH * MAX_CHUNK], first[MAX_PAYLOAD];
  int flushed = shadow_flush(shadow, fd);
  if (flushed != 0) return flushed;
  size_t made = 0, taken = 0;
  int chunks = 0;
  if (!shadow->greeted) {
    if (getrandom(sealed, SALT_BYTES, 0) != SALT_BYTES) die("getrandom");
    start(&shadow->up, shadow->key, sealed, true);
    taken = bytes < MAX_PAYLOAD - ADDRESS_BYTES ? bytes : MAX_PAYLOAD - ADDRESS_BYTES;
    memcpy(first, shadow->address, ADDRESS_BYTES);
    memcpy(first + ADDRESS_BYTES, data, taken);
    made = SALT_BYTES + seal_chunk(&shadow->up, first, ADDRESS_BYTES + taken, sealed + SALT_BYTES);
    shadow->greeted = true;
    chunks = 1;
  }
  for (; taken < bytes && chunks < BATCH; chunks++) {
    size_t size = bytes - taken < MAX_PAYLOAD ? bytes - taken : MAX_PAYLOAD;
    made += seal_chunk(&shadow->up, data + taken, size, sealed + made);
    taken += size;
  }
  return hand_over(shadow, fd, sealed, made) == BROKEN ? BROKEN : (ssize_t)taken;
}

ssize_t shadow_receive(struct shadow *shadow, int fd, const uint8_t **block) {
  static uint8_t sealed[MAX_CHUNK + BLOCK_BYTES], opened[MAX_CHUNK + BLOCK_BYTES];
  memcpy(sealed, shadow->carry ? shadow->carry : sealed, shadow->carry_bytes);
  ssize_t got = recv(fd, sealed + shadow->carry_bytes, BLOCK_BYTES, 0);
  if (got == 0) return ENDED;
  if (got < 0) return errno == EAGAIN ? WOULD_BLOCK : BROKEN;
  size_t bytes = shadow->carry_bytes + (size_t)got, at = 0, made = 0;
  if (!shadow->down.context && bytes >= SALT_BYTES) {
    start(&shadow->down, shadow->key, sealed, false);
    at = SALT_BYTES;
  }
  while (shadow->down.context && bytes - at >= LENGTH_UNIT) {
    uint8_t length[2 + TAG_BYTES], unit[LENGTH_UNIT], nonce[NONCE_BYTES];
    memcpy(unit, sealed + at, LENGTH_UNIT);
    memcpy(nonce, shadow->down.nonce, NONCE_BYTES);
    if (!unseal(&shadow->down, unit, 2, length)) {
      complain("the proxy sent a forged length");
      return BROKEN;
    }
    size_t size = (size_t)length[0] << 8 | length[1];
    if (size == 0 || size > MAX_PAYLOAD) {
      complain("the proxy sent a chunk of %d bytes", (int)size);
      return BROKEN;
    }
    if (bytes - at < LENGTH_UNIT + size + TAG_BYTES) {
      memcpy(shadow->down.nonce, nonce, NONCE_BYTES); /* again when all of it is there */
      break;
    }
    if (!unseal(&shadow->down, sealed + at + LENGTH_UNIT, (int)size, opened + made)) {
      complain("the proxy sent a forged chunk");
      return BROKEN;
    }
    at += LENGTH_UNIT + size + TAG_BYTES;
    made += size;
  }
  shadow->carry_bytes = bytes - at;
  if (shadow->carry_bytes > 0) {
    if (!shadow->carry) shadow->carry = malloc(MAX_CHUNK);
    if (!shadow->carry) die("malloc");
    memcpy(shadow->carry, sealed + at, shadow->carry_bytes);
  }
  *block = opened;
  return (ssize_t)made;
}
