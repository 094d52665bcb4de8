/* Which chunks may hold data: the union over the layers, rounded out to chunks. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct runs {
    Block *blocks;
    size_t count, room;
};

/* Adds chunks [start, end), in sectors; joins the run that ends at `start`. */
static void add(struct runs *runs, Sector start, Sector end)
{
    if (runs->count && runs->blocks[runs->count - 1].offset + runs->blocks[runs->count - 1].length == start) {
        runs->blocks[runs->count - 1].length += end - start;
        return;
    }
    if (runs->count == runs->room) {
        runs->room = runs->room ? 2 * runs->room : 64;
        runs->blocks = realloc(runs->blocks, runs->room * sizeof *runs->blocks);
        if (!runs->blocks)
            abort();
    }
    runs->blocks[runs->count++] = (Block){.offset = start, .length = end - start};
}

/* Walks all layers abreast: each keeps its next extent, the earliest decides which chunks come next. */
static void collect(const struct disk *disk, uint64_t start, uint64_t end, uint64_t chunk, struct runs *runs)
{
    struct extent next[MAX_LAYERS];
    size_t count = disk->about.layer_count;
    for (size_t i = 0; i < count; i++)
        next[i] = layer_next(&disk->layers[i], start, end);
    for (uint64_t at = start; at < end;) {
        const struct extent *first = NULL;
        for (size_t i = 0; i < count; i++) {
            if (next[i].end <= at)
                next[i] = layer_next(&disk->layers[i], at, end);
            if (next[i].start < end && (!first || next[i].start < first->start))
                first = &next[i];
        }
        if (!first)
            return;
        uint64_t from = (first->start > at ? first->start : at) / chunk * chunk;
        uint64_t to = (first->end + chunk - 1) / chunk * chunk;
        add(runs, from / SECTOR_SIZE, to / SECTOR_SIZE);
        at = to;
    }
}

static VixError check(const struct disk *disk, Sector start, Sector count, Sector chunk)
{
    Sector capacity = disk->about.capacity / SECTOR_SIZE;
    if (!strcmp(conf.query, "unsupported"))
        return VIX_E_NOT_SUPPORTED;
    if (chunk < MIN_CHUNK_SIZE || !count || start % chunk || count % chunk ||
        count / chunk > MAX_CHUNK_NUMBER || start >= capacity || count > capacity - start) {
        say(WARN, "VixDiskLib: QueryAllocatedBlocks: start %llu, count %llu, chunk %llu of %llu sectors refused\n",
            (unsigned long long)start, (unsigned long long)count, (unsigned long long)chunk,
            (unsigned long long)capacity);
        return VIX_E_INVALID_ARG;
    }
    return VIX_OK;
}

static BlockList *list_new(const struct runs *runs)
{
    size_t bytes = offsetof(BlockList, blocks) + runs->count * sizeof(Block);
    BlockList *list = object_new(BLOCK_LISTS, bytes > sizeof *list ? bytes : sizeof *list);
    list->numBlocks = (uint32_t)runs->count;
    if (runs->count)
        memcpy(list->blocks, runs->blocks, runs->count * sizeof(Block));
    return list;
}

VixError VixDiskLib_QueryAllocatedBlocks(Handle handle, Sector start, Sector count, Sector chunk,
                                         BlockList **out)
{
    enum damage damage;
    struct disk *disk = disk_begin(handle, __func__);
    if (!disk)
        return outward(VIX_E_INVALID_HANDLE);
    if (conf.query_thread && disk->opener != gettid())
        die(__func__, "not on the thread that opened %s", disk->about.path);
    VixError code = out ? check(disk, start, count, chunk) : VIX_E_INVALID_ARG;
    if (!code)
        code = faults_apply("query", disk->about.path, &damage);
    sleep_ms(conf.query_ms);
    if (!code) {
        struct runs runs = {.count = 0};
        if (!strcmp(conf.query, "full"))
            add(&runs, start, start + count);
        else if (strcmp(conf.query, "empty"))
            collect(disk, start * SECTOR_SIZE, (start + count) * SECTOR_SIZE, chunk * SECTOR_SIZE, &runs);
        *out = list_new(&runs);
        free(runs.blocks);
    }
    return disk_end(disk, code);
}

VixError VixDiskLib_FreeBlockList(BlockList *list)
{
    enter(__func__);
    object_free(list, BLOCK_LISTS, __func__);
    return VIX_OK;
}
