/* Everything handed to the client is registered, so that a foreign, stale or leaked pointer is named. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 256 };

struct object {
    struct object *next;
    void *memory;
    enum kind kind;
    char *closed; /* NULL while live, else how it ended */
};

static const char *const names[KINDS] = {"connection", "disk handle", "connect params",
                                         "disk info",  "block list",  "error text"};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct object *buckets[BUCKETS]; /* under lock */

static struct object **bucket(const void *memory)
{
    return &buckets[((uintptr_t)memory >> 4) % BUCKETS];
}

/* Under lock. */
static struct object **find(const void *memory, enum kind kind)
{
    struct object **at = bucket(memory);
    while (*at && ((*at)->memory != memory || (*at)->kind != kind))
        at = &(*at)->next;
    return at;
}

void *object_new(enum kind kind, size_t bytes)
{
    struct object *object = calloc(1, sizeof *object);
    void *memory = calloc(1, bytes);
    if (!object || !memory)
        abort();
    object->kind = kind;
    object->memory = memory;
    pthread_mutex_lock(&lock);
    struct object **head = bucket(memory);
    object->next = *head;
    *head = object;
    pthread_mutex_unlock(&lock);
    return memory;
}

bool object_is(const void *memory, enum kind kind)
{
    pthread_mutex_lock(&lock);
    struct object *object = *find(memory, kind);
    bool live = object && !object->closed;
    pthread_mutex_unlock(&lock);
    return live;
}

/* Under lock. */
static struct object **live(const void *memory, enum kind kind, const char *function)
{
    struct object **at = find(memory, kind);
    if (!*at)
        die(function, "%p is not a %s of this library, or it was freed before", memory, names[kind]);
    if ((*at)->closed)
        die(function, "this %s was %s before", names[kind], (*at)->closed);
    return at;
}

void object_check(const void *memory, enum kind kind, const char *function)
{
    pthread_mutex_lock(&lock);
    live(memory, kind, function);
    pthread_mutex_unlock(&lock);
}

void object_free(void *memory, enum kind kind, const char *function)
{
    if (!memory)
        return;
    pthread_mutex_lock(&lock);
    struct object **at = live(memory, kind, function), *object = *at;
    *at = object->next;
    pthread_mutex_unlock(&lock);
    free(object);
    free(memory);
}

void object_close(void *memory, enum kind kind, const char *function, const char *note)
{
    pthread_mutex_lock(&lock);
    (*live(memory, kind, function))->closed = copy_text(note);
    pthread_mutex_unlock(&lock);
}

void objects_report_leaks(const char *function)
{
    char text[256] = "";
    size_t counts[KINDS] = {0}, used = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct object *object = buckets[i]; object; object = object->next)
            counts[object->kind] += !object->closed;
    pthread_mutex_unlock(&lock);
    for (size_t kind = 0; kind < KINDS; kind++)
        if (counts[kind])
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%zu %s", used ? ", " : "",
                                     counts[kind], names[kind]);
    if (used)
        die(function, "leaked %s", text);
}
