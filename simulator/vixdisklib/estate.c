/* The estate export under `root`, read anew at every connection and open. */
#include "sim.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static FILE *open_export(const char *name)
{
    char *path = format("%s/%s", conf.root, name);
    FILE *file = fopen(path, "re");
    if (!file)
        say(WARN, "VixDiskLib: %s: %s\n", path, strerror(errno));
    free(path);
    return file;
}

/* Calls `take` for each line; stops when it answers true. */
static bool each_line(FILE *file, bool (*take)(char *line, void *data), void *data)
{
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    while (!found && getline(&line, &room, file) >= 0) {
        line[strcspn(line, "\r\n")] = '\0';
        found = take(line, data);
    }
    free(line);
    fclose(file);
    return found;
}

struct password_search {
    const struct identity *identity;
    bool user_matches;
};

static bool match_password(char *line, void *data)
{
    struct password_search *search = data;
    if (!strncmp(line, "user=", 5))
        search->user_matches = !strcmp(line + 5, search->identity->user);
    return search->user_matches && !strncmp(line, "password=", 9) &&
           !strcmp(line + 9, search->identity->secret);
}

static VixError check_password(const struct identity *identity)
{
    FILE *file = open_export("access");
    if (!file)
        return VIX_E_CANNOT_CONNECT_TO_HOST;
    struct password_search search = {.identity = identity};
    if (identity->user && identity->secret && each_line(file, match_password, &search))
        return VIX_OK;
    say(WARN, "VixDiskLibVim: Login failure for user %s\n", identity->user ? identity->user : "(none)");
    return VIX_E_AUTHENTICATION_FAIL;
}

static VixError check_session(const struct identity *identity)
{
    char *copy = copy_text(identity->secret ? identity->secret : ""), *cookie = trim(copy);
    VixError code = VIX_E_INVALID_AUTHENTICATION_SESSION;
    if (plain_name(cookie)) {
        char *path = format("%s/sessions/%s", conf.root, cookie);
        if (!access(path, F_OK))
            code = VIX_OK;
        free(path);
    }
    free(copy);
    if (code)
        say(WARN, "VixDiskLibVim: the session is not authenticated\n");
    return code;
}

VixError estate_login(const struct identity *identity)
{
    if (access(conf.root, X_OK)) {
        say(WARN, "VixDiskLib: cannot connect: estate export \"%s\": %s\n", conf.root, strerror(errno));
        return VIX_E_CANNOT_CONNECT_TO_HOST;
    }
    switch (identity->cred_type) {
    case CRED_UID:
        return check_password(identity);
    case CRED_SESSIONID:
        return check_session(identity);
    default:
        return VIX_E_INVALID_ARG;
    }
}

static bool find_thumbprint(char *line, void *data)
{
    if (strncmp(line, "thumbprint=", 11))
        return false;
    *(char **)data = copy_text(line + 11);
    return true;
}

/* A wrong thumbprint is a plain "unknown error"; the log has the two values. */
VixError estate_certificate(const struct identity *identity)
{
    char *actual = NULL;
    const char *expected = identity->thumbprint;
    FILE *file = open_export("access");
    if (!file)
        return VIX_E_CANNOT_CONNECT_TO_HOST;
    each_line(file, find_thumbprint, &actual);
    bool good = !actual || (expected ? !strcasecmp(actual, expected) : !conf.require_thumbprint);
    if (!good)
        say(WARN, "Failed to verify SSL certificate: actual thumbprint=%s expected=%s\n", actual,
            expected ? expected : "");
    free(actual);
    return good ? VIX_OK : VIX_E_FAIL;
}

struct host_search {
    const char *vm;
    VixError code;
};

static bool match_host(char *line, void *data)
{
    static const struct {
        const char *state;
        VixError code;
    } states[] = {{"maintenance", VIX_E_HOST_SERVER_SHUTDOWN},
                  {"refused", VIX_E_HOST_NETWORK_CONN_REFUSED},
                  {"unresolved", VIX_E_HOST_SERVER_NOT_FOUND}};
    struct host_search *search = data;
    char *state = line, *vm = strsep(&state, "\t");
    if (!state || strcmp(vm, search->vm))
        return false;
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (!strcmp(states[i].state, trim(state)))
            search->code = states[i].code;
    return true;
}

VixError estate_host(const char *vm)
{
    struct host_search search = {.vm = vm};
    char *path = format("%s/hosts", conf.root);
    FILE *file = fopen(path, "re");
    free(path);
    if (file)
        each_line(file, match_host, &search);
    return search.code && version_below(8, 0, 2) ? VIX_E_FILE_ACCESS_ERROR : search.code;
}

static ino_t inode_of(const char *name, const char *vm)
{
    struct stat about;
    char *path = format("%s/%s%s", conf.root, name, vm);
    bool found = !stat(path, &about);
    free(path);
    return found ? about.st_ino : 0;
}

struct placement estate_placement(const char *vm)
{
    return (struct placement){.host = inode_of("placement/", vm), .states = inode_of("hosts", "")};
}

VixError estate_left(const char *vm, const struct placement *then)
{
    struct placement now = estate_placement(vm);
    if (now.host != then->host)
        return VIX_E_HOST_SERVER_SHUTDOWN;
    return now.states != then->states ? estate_host(vm) : VIX_OK;
}

bool estate_has_view(const char *vm, const char *view)
{
    if (!plain_name(vm) || (view && !plain_name(view)))
        return false;
    char *path = view ? format("%s/%s/%s/disks", conf.root, vm, view) : format("%s/%s", conf.root, vm);
    bool found = !access(path, R_OK);
    free(path);
    return found;
}

bool estate_has_snapshots(const char *vm)
{
    char *path = format("%s/%s", conf.root, vm);
    DIR *folder = opendir(path);
    bool found = false;
    for (struct dirent *entry; folder && !found && (entry = readdir(folder));)
        found = strcmp(entry->d_name, "current") && estate_has_view(vm, entry->d_name);
    if (folder)
        closedir(folder);
    free(path);
    return found;
}

static bool match_running(char *line, void *data)
{
    (void)data;
    return !strcmp(trim(line), "poweredOn");
}

bool estate_runs(const char *vm)
{
    char *path = plain_name(vm) ? format("%s/power/%s", conf.root, vm) : NULL;
    FILE *file = path ? fopen(path, "re") : NULL;
    free(path);
    return file && each_line(file, match_running, NULL);
}

static int adapter_number(const char *name)
{
    static const char *const known[] = {"ide", "buslogic", "lsilogic"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, known[i]))
            return i + ADAPTER_IDE;
    return ADAPTER_UNKNOWN;
}

struct disk_search {
    const char *path;
    struct estate_disk *out;
    bool malformed;
};

/* path, capacity, adapter, uuid, mode, layers topmost first. */
static bool match_disk(char *line, void *data)
{
    struct disk_search *search = data;
    struct estate_disk *out = search->out;
    enum { PATH, CAPACITY, ADAPTER, UUID, MODE, LAYERS };
    char *fields[LAYERS + MAX_LAYERS], *rest = line;
    size_t count = 0;
    for (char *one; count < LAYERS + MAX_LAYERS && (one = strsep(&rest, "\t"));)
        if (*one || count < LAYERS)
            fields[count++] = one;
    if (count == 0 || strcmp(fields[PATH], search->path))
        return false;
    search->malformed = count <= LAYERS || rest;
    if (search->malformed)
        return true;
    out->path = copy_text(fields[PATH]);
    out->capacity = strtoull(fields[CAPACITY], NULL, 10) / SECTOR_SIZE * SECTOR_SIZE;
    out->adapter = adapter_number(fields[ADAPTER]);
    out->uuid = copy_text(fields[UUID]);
    out->mode = copy_text(fields[MODE]);
    for (size_t i = LAYERS; i < count; i++)
        out->layers[out->layer_count++] = copy_text(fields[i]);
    return true;
}

VixError estate_find(const char *vm, const char *view, const char *path, struct estate_disk *out)
{
    *out = (struct estate_disk){.path = NULL};
    char *name = format("%s/%s/disks", vm, view ? view : "current");
    FILE *file = plain_name(vm) && (!view || plain_name(view)) ? open_export(name) : NULL;
    struct disk_search search = {.path = path, .out = out};
    VixError code = VIX_OK;
    if (!file)
        code = VIX_E_OBJECT_NOT_FOUND;
    else if (!each_line(file, match_disk, &search))
        code = VIX_E_FILE_NOT_FOUND;
    else if (search.malformed) {
        say(WARN, "VixDiskLib: %s/%s: malformed line for %s\n", conf.root, name, path);
        code = VIX_E_FAIL;
    }
    free(name);
    return code;
}

void estate_disk_free(struct estate_disk *disk)
{
    for (size_t i = 0; i < disk->layer_count; i++)
        free(disk->layers[i]);
    free(disk->path);
    free(disk->uuid);
    free(disk->mode);
    *disk = (struct estate_disk){.path = NULL};
}
