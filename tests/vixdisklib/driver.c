/* A small VDDK client driven by lines on stdin; answers one line each. Written from the documented ABI alone: it
 * shares no declaration with the library it drives. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t E;
typedef void Log(const char *, va_list);
typedef void Done(void *, E);
struct params {
    char *spec, *server, *thumb;
    long reserved;
    int cred_type;
    char *cred[3];
    uint32_t port, nfc_port;
    char *version, more[8];
    void *state;
    char *object[3];
    int spec_type;
};
struct info {
    uint32_t geometry[6];
    uint64_t capacity;
    int adapter, links;
    char *parent, *uuid;
    uint32_t logical, physical;
};
struct list {
    uint32_t count;
    struct {
        uint64_t offset, length;
    } blocks[];
};

static void *lib;
#define FN(result, name, ...) ((result(*)(__VA_ARGS__))symbol("VixDiskLib_" #name))
static void *symbol(const char *name)
{
    void *found = dlsym(lib, name);
    if (!found) {
        fprintf(stderr, "no symbol %s\n", name);
        _exit(77);
    }
    return found;
}

enum { SLOTS = 64, ROOM = 32 << 20 };
static void *params[SLOTS], *connections[SLOTS], *handles[SLOTS];
static void *kept; /* what the leak and free commands keep */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

/* One line, whole: the library logs from threads of its own, also while it panics. */
static void print_line(const char *prefix, const char *fmt, va_list ap)
{
    char text[2000];
    vsnprintf(text, sizeof text, fmt, ap);
    pthread_mutex_lock(&log_lock);
    fprintf(stderr, "%slog: %s%s", prefix, text, text[strlen(text) - 1] == '\n' ? "" : "\n");
    pthread_mutex_unlock(&log_lock);
}
static void log_line(const char *fmt, va_list ap)
{
    print_line("", fmt, ap);
}
static void panic_line(const char *fmt, va_list ap)
{
    print_line("panic ", fmt, ap);
}
static void *slot(void **slots, const char *text)
{
    uint64_t index = text ? strtoull(text, NULL, 10) : SLOTS;
    return index >= SLOTS || !strcmp(text, "-") ? NULL : slots[index];
}
static char *text_or_null(char *text)
{
    return !text || !strcmp(text, "-") ? NULL : strdup(text);
}
static void dump(const char *file, const void *bytes, size_t size)
{
    FILE *out = strcmp(file, "-") ? fopen(file, "w") : NULL;
    if (!out)
        return;
    fwrite(bytes, 1, size, out);
    fclose(out);
}
static E open_disk(void *connection, const char *path, uint32_t flags, void **out)
{
    return FN(E, Open, void *, const char *, uint32_t, void **)(connection, path, flags, out);
}
static E read_disk(void *handle, uint64_t start, uint64_t count, void *buffer)
{
    return FN(E, Read, void *, uint64_t, uint64_t, void *)(handle, start, count, buffer);
}

struct pending {
    uint8_t *buffer;
    size_t size;
    char file[300];
    E code;
    int done, early, foreign;
    pthread_t submitter;
};
static struct pending pending[SLOTS];
static int pending_count;

static void completed(void *data, E code)
{
    struct pending *one = data;
    one->foreign = !pthread_equal(one->submitter, pthread_self());
    one->code = code;
    __atomic_store_n(&one->done, 1, __ATOMIC_RELEASE);
}
static E submit(void *handle, uint64_t start, uint64_t count, const char *file)
{
    struct pending *one = &pending[pending_count++];
    *one = (struct pending){.buffer = malloc(count * 512 + 1), .size = count * 512, .submitter = pthread_self()};
    memset(one->buffer, 0x77, one->size);
    snprintf(one->file, sizeof one->file, "%s", file);
    E code = FN(E, ReadAsync, void *, uint64_t, uint64_t, void *, Done *, void *)(handle, start, count, one->buffer,
                                                                                completed, one);
    one->early = __atomic_load_n(&one->done, __ATOMIC_ACQUIRE);
    return code;
}
static void results(void)
{
    for (int i = 0; i < pending_count; i++) {
        struct pending *one = &pending[i];
        printf("%d:%llu:%s:%s ", one->done, (unsigned long long)one->code, one->early ? "early" : "late",
               one->foreign ? "foreign" : "same");
        dump(one->file, one->buffer, one->size);
        free(one->buffer);
    }
    pending_count = 0;
    printf("\n");
}

static void call_back_in(void *data, E code)
{
    (void)code;
    FN(const char *, GetTransportMode, void *)(data);
}

struct worker {
    void *handle, *connection;
    const char *path;
    const uint8_t *expected;
    uint64_t sectors;
    unsigned seed;
    long bad;
};
static void *keep_reading(void *data)
{
    struct worker *w = data;
    uint8_t buffer[512];
    for (int i = 0; i < 200; i++)
        read_disk(w->handle, 0, 1, buffer);
    return NULL;
}
static void *keep_opening(void *data)
{
    struct worker *w = data;
    void *handle;
    for (int i = 0; i < 100; i++)
        if (!open_disk(w->connection, w->path, 4, &handle))
            FN(E, Close, void *)(handle);
    return NULL;
}
static void *one_query(void *data)
{
    struct worker *w = data;
    struct list *list;
    FN(E, QueryAllocatedBlocks, void *, uint64_t, uint64_t, uint64_t, struct list **)(w->handle, 0, 128, 128, &list);
    return NULL;
}
static void *one_init(void *data)
{
    struct worker *w = data;
    FN(E, InitEx, uint32_t, uint32_t, Log *, Log *, Log *, const char *, const char *)(6, 5, log_line, log_line,
                                                                                     panic_line, w->path, NULL);
    return NULL;
}
static void on_thread(void *(*main)(void *), struct worker *worker)
{
    pthread_t one;
    pthread_create(&one, NULL, main, worker);
    pthread_join(one, NULL);
}
static void *one_open(void *data)
{
    struct worker *w = data;
    void *handle = NULL;
    open_disk(w->connection, w->path, 4, &handle);
    return NULL;
}
/* Eight random reads in flight, waited for and compared, over and over. */
static void *read_and_compare(void *data)
{
    struct worker *w = data;
    struct pending mine[8];
    for (int round = 0; round < 12; round++) {
        uint64_t starts[8];
        for (int i = 0; i < 8; i++) {
            uint64_t start = starts[i] = (uint64_t)rand_r(&w->seed) % w->sectors;
            uint64_t count = 1 + (uint64_t)rand_r(&w->seed) % 256;
            if (count > w->sectors - start)
                count = w->sectors - start;
            mine[i] = (struct pending){.buffer = malloc(count * 512), .size = count * 512, .code = 99};
            E code = FN(E, ReadAsync, void *, uint64_t, uint64_t, void *, Done *, void *)(
                w->handle, start, count, mine[i].buffer, completed, &mine[i]);
            w->bad += code != 25000;
        }
        w->bad += FN(E, Wait, void *)(w->handle) != 0;
        for (int i = 0; i < 8; i++) {
            w->bad += !mine[i].done || mine[i].code || memcmp(mine[i].buffer, w->expected + starts[i] * 512, mine[i].size);
            free(mine[i].buffer);
        }
    }
    return NULL;
}
static void *race(void *(*main)(void *), struct worker *a, struct worker *b)
{
    pthread_t one, two;
    pthread_create(&one, NULL, main, a);
    pthread_create(&two, NULL, main, b);
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    return NULL;
}
static long stress(int count, void *connection, const char *path, const char *expected, uint64_t sectors)
{
    struct worker workers[SLOTS];
    pthread_t threads[SLOTS];
    long bad = 0;
    uint8_t *bytes = malloc(sectors * 512);
    FILE *file = fopen(expected, "r");
    if (fread(bytes, 512, sectors, file) != sectors)
        bad++;
    fclose(file);
    for (int i = 0; i < count; i++) {
        workers[i] = (struct worker){.expected = bytes, .sectors = sectors, .seed = (unsigned)i};
        bad += open_disk(connection, path, 4, &workers[i].handle) != 0;
        pthread_create(&threads[i], NULL, read_and_compare, &workers[i]);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        bad += workers[i].bad + (FN(E, Close, void *)(workers[i].handle) != 0);
    }
    free(bytes);
    return bad;
}
static double speed(void *handle, uint64_t sectors, uint64_t request)
{
    struct timespec a, b;
    uint8_t *buffer = malloc(request * 512);
    memset(buffer, 1, request * 512);
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (uint64_t at = 0; at + request <= sectors; at += request)
        read_disk(handle, at, request, buffer);
    clock_gettime(CLOCK_MONOTONIC, &b);
    free(buffer);
    return (double)sectors * 512 / ((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
}
static void query(void *handle, uint64_t start, uint64_t count, uint64_t chunk, const char *keep)
{
    struct list *list = NULL;
    E code = FN(E, QueryAllocatedBlocks, void *, uint64_t, uint64_t, uint64_t, struct list **)(handle, start, count,
                                                                                             chunk, &list);
    printf("%llu", (unsigned long long)code);
    for (uint32_t i = 0; list && i < list->count; i++)
        printf(" %llu+%llu", (unsigned long long)list->blocks[i].offset, (unsigned long long)list->blocks[i].length);
    printf("\n");
    kept = list;
    if (list && !keep)
        FN(E, FreeBlockList, struct list *)(list);
}
static void info(void *handle, const char *keep)
{
    struct info *about = NULL;
    E code = FN(E, GetInfo, void *, struct info **)(handle, &about);
    printf("%llu", (unsigned long long)code);
    if (about)
        printf(" %llu %d %d %s %s %x %x", (unsigned long long)about->capacity, about->adapter, about->links,
               about->uuid, about->parent ? "parent" : "-", about->logical, about->physical);
    printf("\n");
    kept = about;
    if (about && !keep)
        FN(void, FreeInfo, struct info *)(about);
}
static void make_params(char **a)
{
    int alien = !strcmp(a[2], "calloc");
    struct params *p = alien ? calloc(1, sizeof *p) : FN(struct params *, AllocateConnectParams, void)();
    p->server = text_or_null(a[3]);
    p->spec = text_or_null(a[4]);
    p->thumb = text_or_null(a[5]);
    p->cred_type = a[6] ? atoi(a[6]) : 0;
    p->cred[0] = text_or_null(a[7]);
    p->cred[1] = text_or_null(a[8]);
    params[atoi(a[1])] = p;
    printf("0\n");
}
static void metadata(void *handle, char *key)
{
    char text[500] = "";
    size_t need = 0;
    E probe = key ? FN(E, ReadMetadata, void *, char *, char *, size_t, size_t *)(handle, key, NULL, 0, &need)
                  : FN(E, GetMetadataKeys, void *, char *, size_t, size_t *)(handle, NULL, 0, &need);
    E code = key ? FN(E, ReadMetadata, void *, char *, char *, size_t, size_t *)(handle, key, text, need, &need)
                 : FN(E, GetMetadataKeys, void *, char *, size_t, size_t *)(handle, text, need, &need);
    printf("%llu %llu %zu %s\n", (unsigned long long)probe, (unsigned long long)code, need, text);
}
/* Forks past the handlers of the C library, then opens: only the process id tells. */
static void clone_and_open(void *connection, const char *path)
{
    void *handle;
    int status;
    pid_t child = _Fork();
    if (!child)
        _exit((int)open_disk(connection, path, 4, &handle));
    waitpid(child, &status, 0);
    printf("%s %d\n", WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}
/* Runs `open` in a forked child and says how the child ended. */
static void fork_and_open(void *connection, const char *path)
{
    void *handle;
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (!child)
        _exit((int)open_disk(connection, path, 4, &handle));
    waitpid(child, &status, 0);
    printf("%s %d\n", WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

#define NUM(i) strtoull(a[i], NULL, 0)
#define IS(name) (!strcmp(a[0], name))
static int answer(char **a)
{
    void *h = slot(handles, a[1]);
    void *c = slot(connections, a[1]);
    E code = 0;
    if (IS("params"))
        return make_params(a), 0;
    if (IS("info"))
        return info(h, a[2]), 0;
    if (IS("query"))
        return query(h, NUM(2), NUM(3), NUM(4), a[5]), 0;
    if (IS("metadata"))
        return metadata(h, a[2]), 0;
    if (IS("results"))
        return results(), 0;
    if (IS("fork"))
        return fork_and_open(c, a[2]), 0;
    if (IS("clone"))
        return clone_and_open(c, a[2]), 0;
    if (IS("stress"))
        return printf("%ld\n", stress(atoi(a[2]), c, a[3], a[4], NUM(5))), 0;
    if (IS("speed"))
        return printf("%.0f\n", speed(h, NUM(2), NUM(3))), 0;
    if (IS("modes"))
        return printf("%s\n", FN(const char *, ListTransportModes, void)()), 0;
    if (IS("mode"))
        return printf("%s\n", FN(const char *, GetTransportMode, void *)(h)), 0;
    if (IS("text")) {
        char *text = FN(char *, GetErrorText, E, const char *)(NUM(1), NULL);
        printf("%s\n", text);
        if (!a[2])
            FN(void, FreeErrorText, char *)(text);
        return 0;
    }
    if (IS("init"))
        code = FN(E, InitEx, uint32_t, uint32_t, Log *, Log *, Log *, const char *, const char *)(
            6, 5, a[3] ? NULL : log_line, a[3] ? NULL : log_line, a[3] ? NULL : panic_line, text_or_null(a[1]),
            text_or_null(a[2]));
    else if (IS("exit"))
        FN(void, Exit, void)();
    else if (IS("connect"))
        code = FN(E, ConnectEx, void *, char, const char *, const char *, void **)(
            slot(params, a[2]), 1, text_or_null(a[3]), text_or_null(a[4]), &connections[atoi(a[1])]);
    else if (IS("connect-old"))
        code = FN(E, Connect, void *, void **)(slot(params, a[2]), &connections[atoi(a[1])]);
    else if (IS("get-params"))
        code = FN(E, GetConnectParams, void *, void **)(c, &params[atoi(a[2])]);
    else if (IS("show-params"))
        return printf("%s %s %s\n", ((struct params *)slot(params, a[1]))->spec,
                      ((struct params *)slot(params, a[1]))->server, ((struct params *)slot(params, a[1]))->cred[0]),
               0;
    else if (IS("free-params"))
        FN(void, FreeConnectParams, void *)(slot(params, a[1]));
    else if (IS("disconnect"))
        code = FN(E, Disconnect, void *)(c);
    else if (IS("prepare"))
        code = FN(E, PrepareForAccess, void *, const char *)(slot(params, a[1]), a[2]);
    else if (IS("end"))
        code = FN(E, EndAccess, void *, const char *)(slot(params, a[1]), a[2]);
    else if (IS("cleanup")) {
        uint32_t cleaned = 9, remaining = 9;
        code = FN(E, Cleanup, void *, uint32_t *, uint32_t *)(slot(params, a[1]), &cleaned, &remaining);
        return printf("%llu %u %u\n", (unsigned long long)code, cleaned, remaining), 0;
    } else if (IS("open"))
        code = open_disk(slot(connections, a[2]), a[4], (uint32_t)NUM(3), &handles[atoi(a[1])]);
    else if (IS("close"))
        code = FN(E, Close, void *)(h);
    else if (IS("read")) {
        static uint8_t buffer[ROOM];
        memset(buffer, 0x77, ROOM);
        code = read_disk(h, NUM(2), NUM(3), buffer);
        for (uint64_t i = NUM(3) * 512; i < NUM(3) * 512 + 8192 && i < ROOM; i++)
            if (buffer[i] != 0x77)
                return printf("wrote past the buffer\n"), 0;
        dump(a[4], buffer, NUM(3) * 512);
    } else if (IS("aread"))
        code = submit(h, NUM(2), NUM(3), a[4]);
    else if (IS("wait"))
        code = FN(E, Wait, void *)(h);
    else if (IS("write"))
        code = FN(E, Write, void *, uint64_t, uint64_t, const void *)(h, 0, 1, "");
    else if (IS("flush"))
        code = FN(E, Flush, void *)(h);
    else if (IS("create"))
        code = FN(E, Create, void *, const char *, void *, void *, void *)(c, "x", NULL, NULL, NULL);
    else if (IS("free-twice"))
        FN(void, FreeInfo, void *)(kept), FN(void, FreeInfo, void *)(kept);
    else if (IS("free-alien"))
        FN(E, FreeBlockList, void *)(malloc(64));
    else if (IS("callback")) {
        static uint8_t buffer[512];
        FN(E, ReadAsync, void *, uint64_t, uint64_t, void *, Done *, void *)(h, 0, 1, buffer, call_back_in, h);
        FN(E, Wait, void *)(h);
    } else if (IS("race-read"))
        race(keep_reading, &(struct worker){.handle = h}, &(struct worker){.handle = h});
    else if (IS("race-open"))
        race(keep_opening, &(struct worker){.connection = c, .path = a[2]},
             &(struct worker){.connection = c, .path = a[2]});
    else if (IS("thread-open"))
        on_thread(one_open, &(struct worker){.connection = c, .path = a[2]});
    else if (IS("thread-query"))
        on_thread(one_query, &(struct worker){.handle = h});
    else if (IS("thread-init"))
        on_thread(one_init, &(struct worker){.path = a[1]});
    else
        return printf("what?\n"), 0;
    printf("%llu\n", (unsigned long long)code);
    return 0;
}

/* Words are parted by '|', since disk paths have blanks. */
int main(int argc, char **argv)
{
    char *line = NULL;
    size_t room = 0;
    lib = dlopen(argv[argc - 1], RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        fprintf(stderr, "%s\n", dlerror());
        return 78;
    }
    while (getline(&line, &room, stdin) > 0) {
        char *words[16] = {NULL}, *rest = line;
        line[strcspn(line, "\n")] = '\0';
        for (int i = 0; i < 15 && (words[i] = strsep(&rest, "|")); i++)
            ;
        answer(words);
        fflush(stdout);
    }
    return 3;
}
