/* Handles: opening, closing, describing, and the bracket that catches two calls at once. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The thread inside Open or Close, 0 when none is. */
static _Atomic pid_t opening;

static void opening_begin(const char *function)
{
    pid_t nobody = 0;
    if (!atomic_compare_exchange_strong(&opening, &nobody, gettid()))
        die(function, "overlaps an Open or Close on another thread; use one thread for all of them");
}

static void opening_end(void)
{
    opening = 0;
}

struct disk *disk_begin(Handle handle, const char *function)
{
    enter(function);
    if (!handle)
        return NULL;
    object_check(handle, HANDLES, function);
    struct disk *disk = handle;
    if (!object_is(disk->connection, CONNECTIONS))
        die(function, "the connection of this disk handle (%s) was disconnected before", disk->about.path);
    if (atomic_flag_test_and_set(&disk->busy))
        die(function, "concurrent call on one handle (%s): %s is under way", disk->about.path, disk->caller);
    disk->caller = function;
    return disk;
}

VixError disk_end(struct disk *disk, VixError code)
{
    atomic_flag_clear(&disk->busy);
    return outward(code);
}

/* A consolidation may swap the layers between reading the index and opening them: look again. */
static VixError find_and_open(const struct connection *connection, const char *path, struct disk *disk)
{
    VixError code = VIX_OK;
    for (int attempt = 0; attempt < 5; attempt++) {
        code = estate_find(connection->vm, connection->snapshot, path, &disk->about);
        if (code)
            return code;
        if (!strncmp(disk->about.mode, "independent", 11) && !version_below(7, 0, 0))
            return VIX_E_FAIL;
        code = layers_open(&disk->about, disk->layers);
        if (code != VIX_E_FILE_NOT_FOUND)
            return code;
        estate_disk_free(&disk->about);
        sleep_ms(2);
    }
    return code;
}

static VixError open_remote(const struct connection *connection, const char *path, struct disk *disk)
{
    if (!connection->transport) {
        say(WARN, "VixDiskLib: no usable transport for %s\n", path);
        return VIX_E_FILE_ACCESS_ERROR;
    }
    VixError code = estate_login(&connection->identity);
    if (!code)
        code = estate_certificate(&connection->identity);
    if (!code)
        code = estate_host(connection->vm);
    if (code)
        return code;
    if (!connection->snapshot && conf.lock_live && estate_runs(connection->vm)) {
        say(WARN, "NfcNetTcpGetSockFd: the host cannot lock %s: a running machine has it open\n", path);
        return VIX_E_FILE_ACCESS_ERROR;
    }
    say(LOG, "NBD_ClientOpen: attempting to create connection to vpxa-nfc%s://%s@%s:902\n",
        !strcmp(connection->transport, "nbdssl") ? "ssl" : "", path, connection->server);
    if (!aio.buffers || !aio.buffer_bytes || aio.buffers > AIO_LIMIT / aio.buffer_bytes) {
        say(WARN, "NfcAioInitSession: %llu buffers of %llu bytes exceed the session limit of %d bytes\n",
            (unsigned long long)aio.buffers, (unsigned long long)aio.buffer_bytes, AIO_LIMIT);
        return VIX_E_FAIL;
    }
    return find_and_open(connection, path, disk);
}

/* A raw local file of whole sectors, so that clients can be tried without any estate. */
static VixError open_local(const struct connection *connection, const char *path, struct disk *disk)
{
    struct stat about;
    if (!connection->transport)
        return VIX_E_NOT_SUPPORTED;
    if (stat(path, &about) || !S_ISREG(about.st_mode))
        return VIX_E_FILE_NOT_FOUND;
    disk->about = (struct estate_disk){.path = copy_text(path),
                                       .uuid = copy_text(""),
                                       .mode = copy_text("persistent"),
                                       .capacity = (uint64_t)about.st_size / SECTOR_SIZE * SECTOR_SIZE,
                                       .adapter = ADAPTER_LSILOGIC,
                                       .layer_count = 1,
                                       .layers = {copy_text(path)}};
    return layers_open(&disk->about, disk->layers);
}

static VixError check_flags(uint32_t flags)
{
    uint32_t compression = flags & OPEN_COMPRESSION_MASK;
    bool known = !(flags & ~(uint32_t)(OPEN_UNBUFFERED | OPEN_SINGLE_LINK | OPEN_READ_ONLY | 0x70));
    return known && !(compression & (compression - 1)) ? VIX_OK : VIX_E_INVALID_ARG;
}

static VixError open_disk(struct connection *connection, const char *path, uint32_t flags, Handle *out)
{
    enum damage damage;
    VixError code = check_flags(flags);
    struct disk *disk = object_new(HANDLES, sizeof *disk);
    sleep_ms(conf.open_ms);
    if (!code)
        code = faults_apply("open", path, &damage);
    if (!code)
        disk->placement = connection->local ? (struct placement){0} : estate_placement(connection->vm);
    if (!code)
        code = connection->local ? open_local(connection, path, disk) : open_remote(connection, path, disk);
    if (code) {
        say(WARN, "VixDiskLib: VixDiskLib_Open: cannot open disk %s. Error %llu at %d.\n", path,
            (unsigned long long)code, __LINE__);
        estate_disk_free(&disk->about);
        object_free(disk, HANDLES, "VixDiskLib_Open");
        return code;
    }
    disk->connection = connection;
    disk->flags = flags | (connection->read_only ? OPEN_READ_ONLY : 0);
    disk->opener = gettid();
    disk->last = &disk->first;
    pthread_mutex_init(&disk->pace_lock, NULL);
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->work, NULL);
    pthread_cond_init(&disk->idle, NULL);
    *out = disk;
    return VIX_OK;
}

VixError VixDiskLib_Open(Connection connection, const char *path, uint32_t flags, Handle *out)
{
    enter(__func__);
    opening_begin(__func__);
    background_check(__func__);
    VixError code = VIX_E_INVALID_ARG;
    if (out)
        *out = NULL;
    if (connection && path && out) {
        object_check(connection, CONNECTIONS, __func__);
        code = open_disk(connection, path, flags, out);
    }
    opening_end();
    return outward(code);
}

/* The structure stays behind as a tombstone, so that a stale handle is never taken for a new one. */
VixError VixDiskLib_Close(Handle handle)
{
    enum damage damage;
    struct disk *disk = disk_begin(handle, __func__);
    if (!disk)
        return outward(VIX_E_INVALID_HANDLE);
    opening_begin(__func__);
    if (async_in_flight(disk))
        die(__func__, "%zu requests in flight on %s; call VixDiskLib_Wait first", async_in_flight(disk),
            disk->about.path);
    async_stop(disk);
    layers_close(disk->layers, disk->about.layer_count);
    VixError code = faults_apply("close", disk->about.path, &damage);
    object_close(disk, HANDLES, __func__, "closed");
    opening_end();
    return disk_end(disk, code);
}

static Geometry geometry(uint64_t capacity)
{
    uint64_t cylinders = capacity / (255 * 63);
    return (Geometry){.cylinders = cylinders > UINT32_MAX ? UINT32_MAX : (uint32_t)cylinders,
                      .heads = 255,
                      .sectors = 63};
}

/* Before 7.0 the structure ended at 56 bytes: what follows is poison that a careful reader never sees. */
static Info *info_new(const struct disk *disk)
{
    const struct estate_disk *about = &disk->about;
    const char *parent = about->layer_count > 1 ? about->layers[1] : NULL;
    size_t uuid_room = strlen(about->uuid) + 1, parent_room = parent ? strlen(parent) + 1 : 0;
    Info *info = object_new(INFOS, sizeof *info + uuid_room + parent_room);
    char *text = (char *)(info + 1);
    info->capacity = about->capacity / SECTOR_SIZE;
    info->biosGeo = info->physGeo = geometry(info->capacity);
    info->adapterType = about->adapter;
    info->numLinks = (int)about->layer_count;
    info->uuid = memcpy(text, about->uuid, uuid_room);
    info->parentFileNameHint = parent ? memcpy(text + uuid_room, parent, parent_room) : NULL;
    bool old = version_below(7, 0, 0);
    info->logicalSectorSize = old ? 0xdeadbeef : SECTOR_SIZE;
    info->physicalSectorSize = old ? 0xdeadbeef : SECTOR_SIZE;
    return info;
}

VixError VixDiskLib_GetInfo(Handle handle, Info **out)
{
    enum damage damage;
    struct disk *disk = disk_begin(handle, __func__);
    if (!disk)
        return outward(VIX_E_INVALID_HANDLE);
    if (!out)
        return disk_end(disk, VIX_E_INVALID_ARG);
    VixError code = faults_apply("info", disk->about.path, &damage);
    *out = code ? NULL : info_new(disk);
    return disk_end(disk, code);
}

void VixDiskLib_FreeInfo(Info *info)
{
    enter(__func__);
    object_free(info, INFOS, __func__);
}

const char *VixDiskLib_GetTransportMode(Handle handle)
{
    struct disk *disk = disk_begin(handle, __func__);
    if (!disk)
        return NULL;
    const char *transport = disk->connection->transport;
    disk_end(disk, VIX_OK);
    return transport;
}
