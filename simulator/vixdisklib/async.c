/* Asynchronous reads: a queue and some threads per handle; callbacks come late, early, out of order. */
#include "sim.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The request is no longer in flight only after its callback has returned. */
static void complete(struct disk *disk, struct request *request, VixError code)
{
    if (request->charged)
        nfc_release(request->count * SECTOR_SIZE);
    callback_depth++;
    request->done(request->data, outward(code));
    callback_depth--;
    free(request);
    disk->connection->in_flight--;
    pthread_mutex_lock(&disk->lock);
    if (--disk->in_flight == 0)
        pthread_cond_broadcast(&disk->idle);
    pthread_mutex_unlock(&disk->lock);
}

static void serve(struct disk *disk, struct request *request)
{
    VixError code = perform_read(disk, request->start, request->count, request->buffer, request->charged);
    complete(disk, request, code);
}

static void *thread_main(void *data)
{
    struct disk *disk = data;
    pthread_mutex_lock(&disk->lock);
    for (;;) {
        struct request *request = disk->first;
        if (request) {
            disk->first = request->next;
            if (!disk->first)
                disk->last = &disk->first;
            pthread_mutex_unlock(&disk->lock);
            serve(disk, request);
            pthread_mutex_lock(&disk->lock);
        } else if (disk->stopping) {
            break;
        } else {
            pthread_cond_wait(&disk->work, &disk->lock);
        }
    }
    pthread_mutex_unlock(&disk->lock);
    return NULL;
}

static void start_threads(struct disk *disk)
{
    sigset_t all, before;
    disk->threads = calloc(conf.threads, sizeof *disk->threads);
    if (!disk->threads)
        abort();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (disk->thread_count < conf.threads &&
           !pthread_create(&disk->threads[disk->thread_count], NULL, thread_main, disk))
        disk->thread_count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!disk->thread_count)
        die("VixDiskLib_ReadAsync", "cannot start a thread");
}

static void queue(struct disk *disk, struct request *request)
{
    if (!disk->thread_count)
        start_threads(disk);
    pthread_mutex_lock(&disk->lock);
    *disk->last = request;
    disk->last = &request->next;
    pthread_cond_signal(&disk->work);
    pthread_mutex_unlock(&disk->lock);
}

size_t async_in_flight(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    size_t count = disk->in_flight;
    pthread_mutex_unlock(&disk->lock);
    return count;
}

void async_stop(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    disk->stopping = true;
    pthread_cond_broadcast(&disk->work);
    pthread_mutex_unlock(&disk->lock);
    for (size_t i = 0; i < disk->thread_count; i++)
        pthread_join(disk->threads[i], NULL);
    free(disk->threads);
    disk->thread_count = 0;
}

static void submit(struct disk *disk, const struct request *wanted)
{
    struct request *request = malloc(sizeof *request);
    if (!request)
        abort();
    *request = *wanted;
    request->charged = nfc_charge(request->count * SECTOR_SIZE);
    disk->style = ASYNCHRONOUS;
    disk->connection->in_flight++;
    pthread_mutex_lock(&disk->lock);
    disk->in_flight++;
    pthread_mutex_unlock(&disk->lock);
    bool odd = disk->requests++ % 2;
    if (!strcmp(conf.completion, "sync") || (!strcmp(conf.completion, "mixed") && odd))
        serve(disk, request);
    else
        queue(disk, request);
}

VixError VixDiskLib_ReadAsync(Handle handle, Sector start, Sector count, uint8_t *buffer, CompletionFn *done,
                              void *data)
{
    struct disk *disk = disk_begin(handle, __func__);
    if (!disk)
        return outward(VIX_E_INVALID_HANDLE);
    VixError code = done ? range_check(disk, start, count, buffer) : VIX_E_INVALID_ARG;
    if (!code && disk->style == SYNCHRONOUS)
        code = VIX_E_ASYNC_MIXEDMODE_UNSUPPORTED;
    if (code)
        return disk_end(disk, code);
    struct request wanted = {.start = start, .count = count, .buffer = buffer, .done = done, .data = data};
    submit(disk, &wanted);
    disk_end(disk, VIX_OK);
    return VIX_ASYNC;
}

VixError VixDiskLib_Wait(Handle handle)
{
    enum damage damage;
    struct disk *disk = disk_begin(handle, __func__);
    if (!disk)
        return outward(VIX_E_INVALID_HANDLE);
    VixError code = faults_apply("wait", disk->about.path, &damage);
    pthread_mutex_lock(&disk->lock);
    while (disk->in_flight)
        pthread_cond_wait(&disk->idle, &disk->lock);
    pthread_mutex_unlock(&disk->lock);
    return disk_end(disk, code);
}
