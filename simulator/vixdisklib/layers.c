/* A disk is a stack of sparse files. A bit of X.map says that X has that grain; it is set after the data is
 * written, so the map is read first and never kept. Only bytes are looked at, never words with an order. */
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW = 4096, WINDOW_GRAINS = WINDOW * 8 };

VixError layers_open(const struct estate_disk *from, struct layer *layers)
{
    for (size_t i = 0; i < from->layer_count; i++) {
        char *map = format("%s.map", from->layers[i]);
        layers[i].data = open(from->layers[i], O_RDONLY | O_CLOEXEC);
        layers[i].map = open(map, O_RDONLY | O_CLOEXEC);
        int error = layers[i].data < 0 ? errno : 0;
        free(map);
        if (error) {
            say(WARN, "VixDiskLib: %s: %s\n", from->layers[i], strerror(error));
            layers_close(layers, i + 1);
            return error == ENOENT ? VIX_E_FILE_NOT_FOUND : VIX_E_FILE_ACCESS_ERROR;
        }
    }
    return VIX_OK;
}

void layers_close(struct layer *layers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (layers[i].data >= 0)
            close(layers[i].data);
        if (layers[i].map >= 0)
            close(layers[i].map);
    }
}

/* What lies past the end of a file reads as zeros. */
static int read_padded(int file, uint64_t offset, size_t length, uint8_t *out)
{
    while (length) {
        ssize_t got = pread(file, out, length, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0) {
            memset(out, 0, length);
            return 0;
        }
        out += got;
        offset += (uint64_t)got;
        length -= (size_t)got;
    }
    return 0;
}

static bool bit(const uint8_t *bits, size_t index)
{
    return bits[index / 8] >> (index % 8) & 1;
}

/* The first index after `from` whose bit differs from that of `from`; `to` when there is none. */
static size_t run_end(const uint8_t *bits, size_t from, size_t to)
{
    bool value = bit(bits, from);
    uint8_t same[8];
    memset(same, value ? 0xff : 0, sizeof same);
    while (from < to) {
        if (from % 8 == 0 && to - from >= 64 && !memcmp(bits + from / 8, same, 8))
            from += 64;
        else if (from % 8 == 0 && to - from >= 8 && bits[from / 8] == same[0])
            from += 8;
        else if (bit(bits, from) == value)
            from++;
        else
            return from;
    }
    return to;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Loads the bits of the window that holds byte `start` of the disk; its first grain is a multiple of 8. */
static int load_window(int map, uint64_t start, uint64_t end, uint8_t *bits, uint64_t *first, size_t *grains)
{
    *first = start / GRAIN / 8 * 8;
    *grains = (size_t)least((end + GRAIN - 1) / GRAIN - *first, WINDOW_GRAINS);
    return read_padded(map, *first / 8, (*grains + 7) / 8, bits);
}

int layers_read(const struct layer *layers, size_t count, uint64_t start, uint64_t end, uint8_t *out)
{
    if (!count) {
        memset(out, 0, end - start);
        return 0;
    }
    if (layers->map < 0)
        return read_padded(layers->data, start, end - start, out);
    int error = 0;
    while (!error && start < end) {
        uint8_t bits[WINDOW];
        uint64_t first;
        size_t grains;
        error = load_window(layers->map, start, end, bits, &first, &grains);
        size_t at = (size_t)(start / GRAIN - first);
        while (!error && at < grains) {
            size_t stop = run_end(bits, at, grains);
            uint64_t until = least((first + stop) * GRAIN, end);
            error = bit(bits, at) ? read_padded(layers->data, start, until - start, out)
                                  : layers_read(layers + 1, count - 1, start, until, out);
            out += until - start;
            start = until;
            at = stop;
        }
    }
    return error;
}

static const struct extent nothing = {UINT64_MAX, UINT64_MAX};

static struct extent next_data(int file, uint64_t from, uint64_t end)
{
    off_t start = lseek(file, (off_t)from, SEEK_DATA);
    if (start < 0)
        return errno == ENXIO ? nothing : (struct extent){from, end};
    off_t stop = lseek(file, start, SEEK_HOLE);
    if ((uint64_t)start >= end)
        return nothing;
    return (struct extent){(uint64_t)start, stop < 0 ? end : least((uint64_t)stop, end)};
}

/* Grows from the first set grain at or after `from` to the first clear one; holes of the map are jumped over. */
static struct extent next_set(int map, uint64_t from, uint64_t end)
{
    struct extent found = nothing;
    while (from < end) {
        uint8_t bits[WINDOW];
        uint64_t first;
        size_t grains;
        if (found.start == UINT64_MAX) {
            struct extent stored = next_data(map, from / GRAIN / 8, (end + 8 * GRAIN - 1) / GRAIN / 8);
            if (stored.start == UINT64_MAX)
                return found;
            if (stored.start * 8 * GRAIN > from)
                from = stored.start * 8 * GRAIN;
        }
        if (load_window(map, from, end, bits, &first, &grains))
            return (struct extent){from, end};
        for (size_t at = (size_t)(from / GRAIN - first), stop; at < grains; at = stop) {
            stop = run_end(bits, at, grains);
            if (!bit(bits, at) && found.start != UINT64_MAX)
                return found;
            if (bit(bits, at) && found.start == UINT64_MAX)
                found.start = (first + at) * GRAIN;
            if (bit(bits, at))
                found.end = least((first + stop) * GRAIN, end);
        }
        from = (first + grains) * GRAIN;
    }
    return found;
}

struct extent layer_next(const struct layer *layer, uint64_t from, uint64_t end)
{
    if (from >= end)
        return nothing;
    return layer->map >= 0 ? next_set(layer->map, from, end) : next_data(layer->data, from, end);
}
