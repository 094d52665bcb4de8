/* The few metadata keys of a disk; a buffer that is too small is told the size it needs. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

static const char *const keys[] = {"adapterType",        "geometry.sectors",  "geometry.heads",
                                   "geometry.cylinders", "virtualHWVersion", "uuid"};
enum { KEYS = sizeof keys / sizeof *keys };

static char *value_of(const struct disk *disk, const char *key)
{
    static const char *const adapters[] = {"", "ide", "buslogic", "lsilogic"};
    const struct estate_disk *about = &disk->about;
    if (!strcmp(key, keys[0]))
        return copy_text(about->adapter <= ADAPTER_LSILOGIC ? adapters[about->adapter] : "unknown");
    if (!strcmp(key, keys[1]))
        return copy_text("63");
    if (!strcmp(key, keys[2]))
        return copy_text("255");
    if (!strcmp(key, keys[3]))
        return format("%llu", (unsigned long long)(about->capacity / SECTOR_SIZE / (255 * 63)));
    if (!strcmp(key, keys[4]))
        return copy_text("13");
    return strcmp(key, keys[5]) ? NULL : copy_text(about->uuid);
}

static VixError hand_out(const char *bytes, size_t size, char *buffer, size_t length, size_t *required)
{
    if (required)
        *required = size;
    if (!buffer || length < size)
        return VIX_E_BUFFER_TOOSMALL;
    memcpy(buffer, bytes, size);
    return VIX_OK;
}

VixError VixDiskLib_ReadMetadata(Handle handle, const char *key, char *buffer, size_t length, size_t *required)
{
    enum damage damage;
    struct disk *disk = disk_begin(handle, __func__);
    if (!disk)
        return outward(VIX_E_INVALID_HANDLE);
    VixError code = key ? faults_apply("meta", disk->about.path, &damage) : VIX_E_INVALID_ARG;
    if (!code) {
        char *value = value_of(disk, key);
        code = value ? hand_out(value, strlen(value) + 1, buffer, length, required) : VIX_E_DISK_KEY_NOTFOUND;
        free(value);
    }
    return disk_end(disk, code);
}

/* Names one after the other, each ended by a zero byte, an empty one at the end. */
VixError VixDiskLib_GetMetadataKeys(Handle handle, char *buffer, size_t length, size_t *required)
{
    char all[256], *at = all;
    struct disk *disk = disk_begin(handle, __func__);
    if (!disk)
        return outward(VIX_E_INVALID_HANDLE);
    for (size_t i = 0; i < KEYS; i++)
        at = stpcpy(at, keys[i]) + 1;
    *at++ = '\0';
    return disk_end(disk, hand_out(all, (size_t)(at - all), buffer, length, required));
}
