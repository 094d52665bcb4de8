/* PrepareForAccess leaves a mark in the estate, ROOT/prepared/<vm>@<identity in hex>, which outlives the process
 * as the real lock against relocation does. EndAccess removes it, from whichever process. A link to it lies in
 * ROOT/<vm>/.access for whoever looks at one machine; the exporter may clear that folder, the mark still counts. */
#include "sim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What this process prepared and did not end, by mark path. */
static struct own {
    struct own *next;
    char *path;
} *owned; /* under lock */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

size_t access_outstanding(void)
{
    size_t count = 0;
    pthread_mutex_lock(&lock);
    for (struct own *one = owned; one; one = one->next)
        count++;
    pthread_mutex_unlock(&lock);
    return count;
}

static void own_add(const char *path)
{
    struct own *one = malloc(sizeof *one);
    if (!one)
        abort();
    one->path = copy_text(path);
    pthread_mutex_lock(&lock);
    one->next = owned;
    owned = one;
    pthread_mutex_unlock(&lock);
}

static bool own_remove(const char *path)
{
    pthread_mutex_lock(&lock);
    struct own **at = &owned;
    while (*at && strcmp((*at)->path, path))
        at = &(*at)->next;
    struct own *found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&lock);
    if (found)
        free(found->path);
    free(found);
    return found;
}

static char *mark_path(const char *vm, const char *identity)
{
    char *folder = format("%s/prepared", conf.root);
    mkdir(folder, 0700);
    size_t length = strlen(identity);
    char *hex = calloc(2 * length + 1, 1);
    if (!hex)
        abort();
    for (size_t i = 0; i < length; i++)
        sprintf(hex + 2 * i, "%02x", (unsigned char)identity[i]);
    char *path = format("%s/%s@%.200s", folder, vm, hex);
    free(hex);
    free(folder);
    return path;
}

/* Brings the link beside the machine's views in line with the mark. */
static void show_link(const char *mark)
{
    char *vm = copy_text(strrchr(mark, '/') + 1), *identity = strchr(vm, '@');
    if (identity) {
        *identity++ = '\0';
        char *folder = format("%s/%s/.access", conf.root, vm), *shown = format("%s/%s", folder, identity);
        unlink(shown);
        if (!access(mark, F_OK) && ((mkdir(folder, 0700) && errno != EEXIST) || link(mark, shown)))
            say(WARN, "VixDiskLib: %s: %s\n", shown, strerror(errno));
        free(shown);
        free(folder);
    }
    free(vm);
}

/* The mark holds one line per Prepare: the process id. */
static void mark_add(const char *path, long owner)
{
    int file = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0 || dprintf(file, "%ld\n", owner) < 0)
        say(WARN, "VixDiskLib: %s: %s\n", path, strerror(errno));
    if (file >= 0)
        close(file);
}

static long mark_owner(const char *path, size_t *depth)
{
    long owner = 0, one;
    *depth = 0;
    FILE *file = fopen(path, "re");
    while (file && fscanf(file, "%ld", &one) == 1) {
        owner = one;
        ++*depth;
    }
    if (file)
        fclose(file);
    return owner;
}

/* Drops one line. False when there was none. */
static bool mark_remove(const char *path)
{
    size_t depth;
    long owner = mark_owner(path, &depth);
    if (!depth || unlink(path))
        return false;
    while (--depth)
        mark_add(path, owner);
    show_link(path);
    return true;
}

static VixError target(const ConnectParams *params, const char *identity, const char *function, char **vm)
{
    struct identity who;
    *vm = NULL;
    if (!params || !identity || !*identity)
        return VIX_E_INVALID_ARG;
    VixError code = identity_read(params, function, &who);
    if (!code && !params->serverName)
        code = VIX_E_INVALID_ARG;
    if (!code)
        code = estate_login(&who);
    identity_free(&who);
    if (code)
        return code;
    *vm = spec_moref(params->vmxSpec);
    return !*vm ? VIX_E_INVALID_ARG : estate_has_view(*vm, NULL) ? VIX_OK : VIX_E_OBJECT_NOT_FOUND;
}

VixError VixDiskLib_PrepareForAccess(const ConnectParams *params, const char *identity)
{
    char *vm;
    enum damage damage;
    enter(__func__);
    VixError code = target(params, identity, __func__, &vm);
    if (!code)
        code = faults_apply("prepare", NULL, &damage);
    if (!code)
        code = conf.prepare_code;
    if (!code) {
        char *path = mark_path(vm, identity);
        mark_add(path, (long)getpid());
        show_link(path);
        own_add(path);
        free(path);
    }
    free(vm);
    return outward(code);
}

VixError VixDiskLib_EndAccess(const ConnectParams *params, const char *identity)
{
    char *vm;
    enum damage damage;
    enter(__func__);
    VixError code = target(params, identity, __func__, &vm);
    if (!code)
        code = faults_apply("end", NULL, &damage);
    if (!code) {
        char *path = mark_path(vm, identity);
        bool mine = own_remove(path), marked = mark_remove(path);
        if (!mine && !marked)
            die(__func__, "no matching VixDiskLib_PrepareForAccess for %s and identity %s", vm, identity);
        free(path);
    }
    free(vm);
    return outward(code);
}

/* Marks of processes that no longer live are cleaned up, those of living ones remain. */
static void clean_marks(uint32_t *cleaned, uint32_t *remaining)
{
    char *folder = format("%s/prepared", conf.root);
    DIR *marks = opendir(folder);
    for (struct dirent *entry; marks && (entry = readdir(marks));) {
        size_t depth;
        char *path = format("%s/%s", folder, entry->d_name);
        long owner = entry->d_name[0] == '.' ? 0 : mark_owner(path, &depth);
        if (owner && kill((pid_t)owner, 0) && errno == ESRCH) {
            *cleaned += !unlink(path);
            show_link(path);
        } else {
            *remaining += owner != 0;
        }
        free(path);
    }
    if (marks)
        closedir(marks);
    free(folder);
}

static VixError cleanup(const ConnectParams *params, uint32_t *cleaned, uint32_t *remaining)
{
    struct identity who;
    enum damage damage;
    if (!params || params->vmxSpec || !params->serverName)
        return VIX_E_INVALID_ARG;
    VixError code = identity_read(params, "VixDiskLib_Cleanup", &who);
    if (!code)
        code = estate_login(&who);
    identity_free(&who);
    if (!code)
        code = faults_apply("cleanup", NULL, &damage);
    if (!code)
        clean_marks(cleaned, remaining);
    return code;
}

VixError VixDiskLib_Cleanup(const ConnectParams *params, uint32_t *numCleanedUp, uint32_t *numRemaining)
{
    uint32_t cleaned = 0, remaining = 0;
    enter(__func__);
    VixError code = cleanup(params, &cleaned, &remaining);
    if (numCleanedUp)
        *numCleanedUp = cleaned;
    if (numRemaining)
        *numRemaining = remaining;
    return outward(code);
}
