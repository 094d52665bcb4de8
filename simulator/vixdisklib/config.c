/* The configFile of InitEx. Only the NFC AIO buffers have an effect; unknown keys are passed over with a log line. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct aio aio = {.buffer_bytes = AIO_UNIT, .buffers = 4};

static void take(const char *key, const char *value)
{
    static const char prefix[] = "vixDiskLib.";
    uint64_t number = strtoull(value, NULL, 10);
    if (!strcmp(key, "vixDiskLib.nfcAio.Session.BufSizeIn64KB")) {
        aio.buffer_bytes = number * AIO_UNIT;
    } else if (!strcmp(key, "vixDiskLib.nfcAio.Session.BufCount")) {
        aio.buffers = number;
    } else if (strncmp(key, prefix, sizeof prefix - 1) && strcmp(key, "tmpDirectory")) {
        say(LOG, "VixDiskLib: configuration key %s is not known and has no effect\n", key);
    }
}

void config_load(const char *path)
{
    FILE *file = path ? fopen(path, "re") : NULL;
    if (path && !file)
        say(WARN, "VixDiskLib: configuration file %s cannot be opened, using defaults\n", path);
    char *line = NULL;
    size_t room = 0;
    while (file && getline(&line, &room, file) >= 0) {
        char *text = trim(line), *equals = strchr(text, '=');
        if (*text == '#' || !equals)
            continue;
        *equals = '\0';
        take(trim(text), trim(equals + 1));
    }
    free(line);
    if (file)
        fclose(file);
    say(LOG, "VixDiskLib: NFC AIO session: %llu buffers of %llu bytes\n", (unsigned long long)aio.buffers,
        (unsigned long long)aio.buffer_bytes);
}
