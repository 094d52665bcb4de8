/* What the files of the stand-in share. Who may touch a field is said beside it. */
#ifndef VIXSIM_SIM_H
#define VIXSIM_SIM_H

#include "abi.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

enum { GRAIN = 4096, MAX_LAYERS = 64, AIO_UNIT = 65536, AIO_LIMIT = 16 << 20 };

/* ---- switches.c: read once by InitEx, constant afterwards ---- */
struct switches {
#define TEXT(key, initial, meaning) char *key;
#define NUMBER(key, initial, meaning) uint64_t key;
#include "switches.h"
#undef TEXT
#undef NUMBER
};
extern struct switches conf;
/* Reads libDir/vixdisklib.conf (or the one beside this library), then the environment. */
bool switches_load(const char *lib_dir);
void version_numbers(unsigned numbers[3]);
bool version_below(unsigned major, unsigned minor, unsigned patch);

/* ---- text.c ---- */
char *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *copy_text(const char *text); /* NULL stays NULL */
char *trim(char *text);            /* in place, also one pair of double quotes */
bool plain_name(const char *name); /* usable as one path component */
uint64_t now_ns(void);
void sleep_until(uint64_t deadline_ns);
void sleep_ms(uint64_t milliseconds);

/* ---- logging.c ---- */
enum level { LOG, WARN };
void loggers_set(LogFn *log, LogFn *warn, LogFn *panic);
bool loggers_missing(void);
void say(enum level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One line on stderr and to the panic callback, then abort(). */
_Noreturn void die(const char *function, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
extern _Thread_local int callback_depth; /* > 0 while this thread runs code of the client */

/* ---- library.c ---- */
/* Every call starts here: initialised, not forked, not inside a callback. */
void enter(const char *function);
void background_check(const char *function);
VixError outward(VixError code); /* adds the high bits when asked to */
const char *working_transports(void);

/* ---- config.c: the configFile of InitEx ---- */
struct aio {
    uint64_t buffer_bytes, buffers;
};
extern struct aio aio;
void config_load(const char *file);

/* ---- objects.c: all that the client holds ---- */
enum kind { CONNECTIONS, HANDLES, PARAMS, INFOS, BLOCK_LISTS, ERROR_TEXTS, KINDS };
void *object_new(enum kind kind, size_t bytes); /* zeroed */
bool object_is(const void *object, enum kind kind);
/* Dies when `object` is not a live one of this kind. */
void object_check(const void *object, enum kind kind, const char *function);
void object_free(void *object, enum kind kind, const char *function);
/* Marks it closed but keeps the memory, so that later use is recognised. `note` is kept for the message. */
void object_close(void *object, enum kind kind, const char *function, const char *note);
void objects_report_leaks(const char *function);

/* ---- faults.c ---- */
enum damage { INTACT, FLIPPED, GARBAGE, SHORT };
bool faults_parse(const char *rules);
VixError faults_apply(const char *call, const char *path, enum damage *damage);

/* ---- estate.c: the export under `root`, never cached ---- */
struct identity {
    int cred_type;
    char *user, *secret; /* secret: password or cookie */
    char *thumbprint;
};
struct estate_disk {
    char *path, *uuid;
    char *mode;
    uint64_t capacity;
    int adapter;
    size_t layer_count;
    char *layers[MAX_LAYERS];
};
VixError estate_login(const struct identity *identity);
VixError estate_certificate(const struct identity *identity);
VixError estate_host(const char *vm);
struct placement { /* where a machine ran when its disk was opened; zeroes: nobody knows */
    ino_t host, states; /* the files that say so are replaced, never written again */
};
struct placement estate_placement(const char *vm);
/* What a reader that opened the disk at `then` meets: VIX_OK, or that its host has let go of the machine. */
VixError estate_left(const char *vm, const struct placement *then);
bool estate_has_view(const char *vm, const char *view); /* view NULL: the machine itself */
bool estate_has_snapshots(const char *vm);
bool estate_runs(const char *vm);
VixError estate_find(const char *vm, const char *view, const char *path, struct estate_disk *out);
void estate_disk_free(struct estate_disk *disk);

/* ---- access.c ---- */
size_t access_outstanding(void);

/* ---- connection.c ---- */
struct connection {
    struct identity identity;
    char *vm, *server, *spec, *snapshot;
    const char *transport; /* NULL: none of the caller's list works */
    bool local, read_only;
    _Atomic size_t in_flight; /* asynchronous requests of all its disks */
};
VixError identity_read(const ConnectParams *params, const char *function, struct identity *out);
void identity_free(struct identity *identity);
char *spec_moref(const char *spec); /* "moref=vm-16" -> "vm-16", NULL when malformed */

/* ---- layers.c ---- */
struct layer {
    int data, map; /* map -1: whatever the file has not is a hole */
};
struct extent {
    uint64_t start, end;
};
VixError layers_open(const struct estate_disk *from, struct layer *layers);
void layers_close(struct layer *layers, size_t count);
/* Fills `out` with the bytes [start, end); returns 0 or an errno. */
int layers_read(const struct layer *layers, size_t count, uint64_t start, uint64_t end, uint8_t *out);
/* The first allocated extent of one layer that ends after `from`; start == UINT64_MAX: none before `end`. */
struct extent layer_next(const struct layer *layer, uint64_t from, uint64_t end);

/* ---- disk.c ---- */
struct request {
    struct request *next;
    Sector start, count;
    uint8_t *buffer;
    CompletionFn *done;
    void *data;
    bool charged; /* counted in the NFC memory */
};
struct disk {
    struct connection *connection;
    struct estate_disk about;
    struct layer layers[MAX_LAYERS];
    uint32_t flags;
    pid_t opener;
    struct placement placement;
    atomic_flag busy;      /* a call is under way */
    const char *_Atomic caller; /* its name, for the message of the second one */
    enum { UNUSED, SYNCHRONOUS, ASYNCHRONOUS } style; /* under busy */
    uint64_t requests;                                /* under busy */

    pthread_mutex_t pace_lock;
    uint64_t pace_next; /* under pace_lock */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work, idle;
    struct request *first, **last;
    size_t in_flight;
    bool stopping;
    size_t thread_count; /* under busy */
    pthread_t *threads;
};
/* Begin and end of a call on one handle. NULL when `handle` is NULL. */
struct disk *disk_begin(Handle handle, const char *function);
VixError disk_end(struct disk *disk, VixError code);

/* ---- reading.c ---- */
VixError range_check(const struct disk *disk, Sector start, Sector count, const void *buffer);
bool nfc_charge(uint64_t bytes); /* false: over the cap, nothing charged */
void nfc_release(uint64_t bytes);
/* One whole read with its faults, delays and data. */
VixError perform_read(struct disk *disk, Sector start, Sector count, uint8_t *buffer, bool charged);

/* ---- async.c ---- */
size_t async_in_flight(struct disk *disk);
void async_stop(struct disk *disk);

#endif
