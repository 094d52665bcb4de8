/* One read: faults, delays, NFC memory, data. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t nfc_used;
static _Atomic uint64_t dice;

VixError range_check(const struct disk *disk, Sector start, Sector count, const void *buffer)
{
    Sector capacity = disk->about.capacity / SECTOR_SIZE;
    if (!count || !buffer)
        return VIX_E_INVALID_ARG;
    return start >= capacity || count > capacity - start ? VIX_E_DISK_OUTOFRANGE : VIX_OK;
}

bool nfc_charge(uint64_t bytes)
{
    bool fits = !conf.nfc_request || bytes <= conf.nfc_request;
    uint64_t used = atomic_fetch_add(&nfc_used, bytes) + bytes;
    fits = fits && (!conf.nfc_memory || used <= conf.nfc_memory);
    if (!fits)
        nfc_release(bytes);
    return fits;
}

void nfc_release(uint64_t bytes)
{
    atomic_fetch_sub(&nfc_used, bytes);
}

static uint64_t roll(uint64_t below)
{
    uint64_t x = atomic_fetch_add(&dice, 0x9e3779b97f4a7c15u) + conf.seed;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (x ^ (x >> 31)) % below;
}

/* Delay and cap overlap: the read ends at the later of the two. */
static void pace(struct disk *disk, uint64_t bytes, uint64_t began)
{
    uint64_t delay_us = conf.read_us + (conf.jitter_us ? roll(conf.jitter_us + 1) : 0);
    uint64_t session = aio.buffer_bytes * aio.buffers;
    if (conf.rtt_us)
        delay_us += conf.rtt_us * ((bytes + session - 1) / session);
    uint64_t until = began + delay_us * 1000;
    if (conf.bandwidth) {
        pthread_mutex_lock(&disk->pace_lock);
        uint64_t from = disk->pace_next > began ? disk->pace_next : began;
        disk->pace_next = from + (uint64_t)((double)bytes * 1e9 / (double)conf.bandwidth);
        if (disk->pace_next > until)
            until = disk->pace_next;
        pthread_mutex_unlock(&disk->pace_lock);
    }
    if (until > began)
        sleep_until(until);
}

static void spoil(enum damage damage, uint8_t *buffer, uint64_t bytes)
{
    switch (damage) {
    case FLIPPED:
        buffer[bytes / 2] ^= 0x10;
        break;
    case GARBAGE:
        memset(buffer, 0xdb, bytes);
        break;
    case SHORT:
        memset(buffer + bytes / 2, 0xdb, bytes - bytes / 2);
        break;
    case INTACT:
        break;
    }
}

VixError perform_read(struct disk *disk, Sector start, Sector count, uint8_t *buffer, bool charged)
{
    uint64_t began = now_ns(), from = start * SECTOR_SIZE, bytes = count * SECTOR_SIZE;
    enum damage damage = INTACT;
    VixError code = faults_apply("read", disk->about.path, &damage);
    if (!code && !disk->connection->local)
        code = estate_left(disk->connection->vm, &disk->placement);
    if (!code && !charged) {
        say(WARN,
            "NfcFssrvrProcessErrorMsg: received NFC error %d from server: "
            "Failed to allocate the requested %llu bytes\n",
            5, (unsigned long long)bytes);
        code = VIX_E_OUT_OF_MEMORY;
    }
    if (!code) {
        int error = layers_read(disk->layers, disk->about.layer_count, from, from + bytes, buffer);
        if (error)
            say(WARN, "VixDiskLib: %s: reading %llu bytes at %llu: %s\n", disk->about.path,
                (unsigned long long)bytes, (unsigned long long)from, strerror(error));
        code = error ? VIX_E_DISK_NOIO : VIX_OK;
    }
    pace(disk, bytes, began);
    if (!code)
        spoil(damage, buffer, bytes);
    return code;
}

VixError VixDiskLib_Read(Handle handle, Sector start, Sector count, uint8_t *buffer)
{
    struct disk *disk = disk_begin(handle, __func__);
    if (!disk)
        return outward(VIX_E_INVALID_HANDLE);
    VixError code = range_check(disk, start, count, buffer);
    if (!code && disk->style == ASYNCHRONOUS)
        code = VIX_E_ASYNC_MIXEDMODE_UNSUPPORTED;
    if (!code) {
        disk->style = SYNCHRONOUS;
        bool charged = nfc_charge(count * SECTOR_SIZE);
        code = perform_read(disk, start, count, buffer, charged);
        if (charged)
            nfc_release(count * SECTOR_SIZE);
    }
    return disk_end(disk, code);
}
