/* What a reader never needs is exported, so that every client loads, and refused with the code that fits. */
#include "sim.h"

#define UNUSED_ARGUMENT(x) ((void)(x))

static VixError refuse_on_disk(Handle handle, const char *function, VixError code)
{
    struct disk *disk = disk_begin(handle, function);
    return disk ? disk_end(disk, code) : outward(VIX_E_INVALID_HANDLE);
}

static VixError refuse_write(Handle handle, const char *function)
{
    struct disk *disk = disk_begin(handle, function);
    if (!disk)
        return outward(VIX_E_INVALID_HANDLE);
    return disk_end(disk, disk->flags & OPEN_READ_ONLY ? VIX_E_FILE_READ_ONLY : VIX_E_NOT_SUPPORTED);
}

static VixError refuse_on_connection(Connection connection, const char *function)
{
    enter(function);
    if (!connection)
        return outward(VIX_E_INVALID_ARG);
    object_check(connection, CONNECTIONS, function);
    const struct connection *to = connection;
    return outward(to->local ? VIX_E_NOT_SUPPORTED : VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT);
}

VixError VixDiskLib_Write(Handle handle, Sector start, Sector count, const uint8_t *buffer)
{
    UNUSED_ARGUMENT(start), UNUSED_ARGUMENT(count), UNUSED_ARGUMENT(buffer);
    return refuse_write(handle, __func__);
}

VixError VixDiskLib_WriteAsync(Handle handle, Sector start, Sector count, const uint8_t *buffer,
                               CompletionFn *done, void *data)
{
    UNUSED_ARGUMENT(start), UNUSED_ARGUMENT(count), UNUSED_ARGUMENT(buffer);
    UNUSED_ARGUMENT(done), UNUSED_ARGUMENT(data);
    return refuse_write(handle, __func__);
}

/* Nothing was ever written, so everything is durable. */
VixError VixDiskLib_Flush(Handle handle)
{
    enum damage damage;
    struct disk *disk = disk_begin(handle, __func__);
    if (!disk)
        return outward(VIX_E_INVALID_HANDLE);
    return disk_end(disk, faults_apply("flush", disk->about.path, &damage));
}

VixError VixDiskLib_WriteMetadata(Handle handle, const char *key, const char *value)
{
    UNUSED_ARGUMENT(key), UNUSED_ARGUMENT(value);
    return refuse_write(handle, __func__);
}

VixError VixDiskLib_Create(Connection connection, const char *path, const CreateParams *params,
                           ProgressFn *progress, void *data)
{
    UNUSED_ARGUMENT(path), UNUSED_ARGUMENT(params), UNUSED_ARGUMENT(progress), UNUSED_ARGUMENT(data);
    return refuse_on_connection(connection, __func__);
}

VixError VixDiskLib_CreateChild(Handle handle, const char *path, int type, ProgressFn *progress, void *data)
{
    UNUSED_ARGUMENT(path), UNUSED_ARGUMENT(type), UNUSED_ARGUMENT(progress), UNUSED_ARGUMENT(data);
    return refuse_on_disk(handle, __func__, VIX_E_NOT_SUPPORTED);
}

VixError VixDiskLib_Unlink(Connection connection, const char *path)
{
    UNUSED_ARGUMENT(path);
    return refuse_on_connection(connection, __func__);
}

VixError VixDiskLib_Grow(Connection connection, const char *path, Sector capacity, Bool geometry,
                         ProgressFn *progress, void *data)
{
    UNUSED_ARGUMENT(path), UNUSED_ARGUMENT(capacity), UNUSED_ARGUMENT(geometry);
    UNUSED_ARGUMENT(progress), UNUSED_ARGUMENT(data);
    return refuse_on_connection(connection, __func__);
}

VixError VixDiskLib_Clone(Connection to, const char *toPath, Connection from, const char *fromPath,
                          const CreateParams *params, ProgressFn *progress, void *data, Bool overwrite)
{
    UNUSED_ARGUMENT(toPath), UNUSED_ARGUMENT(from), UNUSED_ARGUMENT(fromPath), UNUSED_ARGUMENT(params);
    UNUSED_ARGUMENT(progress), UNUSED_ARGUMENT(data), UNUSED_ARGUMENT(overwrite);
    return refuse_on_connection(to, __func__);
}

VixError VixDiskLib_SpaceNeededForClone(Handle handle, int type, uint64_t *bytes)
{
    UNUSED_ARGUMENT(type), UNUSED_ARGUMENT(bytes);
    return refuse_on_disk(handle, __func__, VIX_E_NOT_SUPPORTED);
}

VixError VixDiskLib_CheckRepair(Connection connection, const char *path, Bool repair)
{
    UNUSED_ARGUMENT(path), UNUSED_ARGUMENT(repair);
    return refuse_on_connection(connection, __func__);
}

VixError VixDiskLib_Attach(Handle parent, Handle child)
{
    UNUSED_ARGUMENT(child);
    return refuse_on_disk(parent, __func__, VIX_E_NOT_SUPPORTED);
}

VixError VixDiskLib_IsAttachPossible(Handle parent, Handle child)
{
    UNUSED_ARGUMENT(child);
    return refuse_on_disk(parent, __func__, VIX_E_NOT_SUPPORTED);
}

VixError VixDiskLib_Rename(const char *from, const char *to)
{
    enter(__func__);
    UNUSED_ARGUMENT(from), UNUSED_ARGUMENT(to);
    return outward(VIX_E_NOT_SUPPORTED);
}

VixError VixDiskLib_Shrink(Handle handle, ProgressFn *progress, void *data)
{
    UNUSED_ARGUMENT(progress), UNUSED_ARGUMENT(data);
    return refuse_on_disk(handle, __func__, VIX_E_NOT_SUPPORTED);
}

VixError VixDiskLib_Defragment(Handle handle, ProgressFn *progress, void *data)
{
    UNUSED_ARGUMENT(progress), UNUSED_ARGUMENT(data);
    return refuse_on_disk(handle, __func__, VIX_E_NOT_SUPPORTED);
}
