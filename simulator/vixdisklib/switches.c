/* The switches: defaults, then INSTALL/vixdisklib.conf, then VIXSIM_<KEY> in the environment. */
#include "sim.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct switches conf;

static const struct entry {
    const char *key, *initial;
    char **text;
    uint64_t *number;
} table[] = {
#define TEXT(key, initial, meaning) {#key, initial, &conf.key, NULL},
#define NUMBER(key, initial, meaning) {#key, #initial, NULL, &conf.key},
#include "switches.h"
#undef TEXT
#undef NUMBER
};
enum { COUNT = sizeof table / sizeof *table };

static bool assign(const struct entry *entry, const char *value)
{
    if (entry->text) {
        free(*entry->text);
        *entry->text = copy_text(value);
        return true;
    }
    char *rest;
    errno = 0;
    unsigned long long number = strtoull(value, &rest, 0);
    if (errno || rest == value || *rest || strchr(value, '-')) {
        say(WARN, "VixDiskLib: switch %s: not a number: %s\n", entry->key, value);
        return false;
    }
    *entry->number = number;
    return true;
}

static const struct entry *find(const char *key)
{
    for (size_t i = 0; i < COUNT; i++)
        if (!strcmp(table[i].key, key))
            return &table[i];
    return NULL;
}

/* A second `faults` line adds to the first; any other key is replaced. */
static bool set(const char *key, const char *value)
{
    const struct entry *entry = find(key);
    if (!entry) {
        say(WARN, "VixDiskLib: no such switch: %s\n", key);
        return true;
    }
    if (entry->text != &conf.faults || !*conf.faults)
        return assign(entry, value);
    char *joined = format("%s;%s", conf.faults, value);
    bool good = assign(entry, joined);
    free(joined);
    return good;
}

/* Whether the file is there; `good` turns false at a value that makes no sense. */
static bool read_file(const char *path, bool *good)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) >= 0) {
        char *text = trim(line), *equals = strchr(text, '=');
        if (*text == '#' || !*text)
            continue;
        if (!equals) {
            say(WARN, "VixDiskLib: %s: not key=value: %s\n", path, text);
            continue;
        }
        *equals = '\0';
        if (!set(trim(text), trim(equals + 1)))
            *good = false;
    }
    free(line);
    fclose(file);
    return true;
}

/* A misspelt variable is named in the log: a switch that silently does nothing makes a test prove nothing. */
static bool read_environment(void)
{
    static const char prefix[] = "VIXSIM_";
    bool good = true;
    for (char **variable = environ; *variable; variable++) {
        if (strncmp(*variable, prefix, sizeof prefix - 1))
            continue;
        char *copy = copy_text(*variable + sizeof prefix - 1), *value = copy, *key = strsep(&value, "=");
        for (char *c = key; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        const struct entry *entry = find(key);
        if (!entry)
            say(WARN, "VixDiskLib: no such switch: %s%s\n", prefix, key);
        else if (value && !assign(entry, value))
            good = false;
        free(copy);
    }
    return good;
}

static void read_beside_library(bool *good)
{
    Dl_info about;
    if (!dladdr((void *)(uintptr_t)VixDiskLib_InitEx, &about) || !about.dli_fname)
        return;
    char *file = copy_text(about.dli_fname);
    char *folder = copy_text(dirname(file));
    char *above = format("%s/../vixdisklib.conf", folder), *beside = format("%s/vixdisklib.conf", folder);
    if (!read_file(above, good))
        read_file(beside, good);
    free(above);
    free(beside);
    free(folder);
    free(file);
}

static bool known(const char *value, const char *const *words)
{
    for (; *words; words++)
        if (!strcmp(value, *words))
            return true;
    return false;
}

static bool sensible(void)
{
    static const char *const completions[] = {"threaded", "sync", "mixed", NULL};
    static const char *const queries[] = {"normal", "unsupported", "empty", "full", NULL};
    if (known(conf.completion, completions) && known(conf.query, queries) && conf.threads >= 1 &&
        conf.threads <= 256)
        return true;
    say(WARN, "VixDiskLib: switches completion=%s query=%s threads=%llu make no sense\n", conf.completion,
        conf.query, (unsigned long long)conf.threads);
    return false;
}

bool switches_load(const char *lib_dir)
{
    for (size_t i = 0; i < COUNT; i++)
        assign(&table[i], table[i].initial);
    char *path = format("%s/vixdisklib.conf", lib_dir ? lib_dir : "");
    bool good = true;
    bool found = lib_dir && read_file(path, &good);
    free(path);
    if (!found)
        read_beside_library(&good);
    return read_environment() && good && sensible() && faults_parse(conf.faults);
}

void version_numbers(unsigned numbers[3])
{
    memset(numbers, 0, 3 * sizeof *numbers);
    if (sscanf(conf.version, "%u.%u.%u", &numbers[0], &numbers[1], &numbers[2]) < 1)
        numbers[0] = 8;
}

bool version_below(unsigned major, unsigned minor, unsigned patch)
{
    unsigned have[3];
    version_numbers(have);
    if (have[0] != major)
        return have[0] < major;
    return have[1] != minor ? have[1] < minor : have[2] < patch;
}
