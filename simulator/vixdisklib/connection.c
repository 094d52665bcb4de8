/* Connections: what the params say is copied here and checked against the estate. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

/* The first name of the caller's list that works here; NULL when none does. */
static const char *choose_transport(const char *list, bool local)
{
    static const char *const remote[] = {"nbdssl", "nbd"};
    char *copy = copy_text(list ? list : conf.transports), *rest = copy;
    const char *chosen = NULL;
    for (char *name; !chosen && (name = strsep(&rest, ":"));) {
        if (local && !strcmp(name, "file"))
            chosen = "file";
        for (size_t i = 0; !local && i < 2; i++)
            if (!strcmp(name, remote[i]))
                chosen = remote[i];
        if (!chosen && *name)
            say(LOG, "VixDiskLib: transport %s is not usable for this connection\n", name);
    }
    free(copy);
    return chosen;
}

static VixError check_target(const struct connection *to, const char *snapshot)
{
    if (!to->vm)
        return VIX_E_INVALID_ARG;
    VixError code = estate_login(&to->identity);
    if (code)
        return code;
    if (!estate_has_view(to->vm, NULL) || (snapshot && !estate_has_view(to->vm, snapshot)))
        return VIX_E_OBJECT_NOT_FOUND;
    if (!snapshot && conf.require_snapshot && estate_has_snapshots(to->vm))
        return VIX_E_FILE_ACCESS_ERROR;
    return VIX_OK;
}

static void connection_clear(struct connection *connection)
{
    identity_free(&connection->identity);
    free(connection->vm);
    free(connection->server);
    free(connection->spec);
    free(connection->snapshot);
}

static void describe(const ConnectParams *params, const struct connection *made, const char *snapshot)
{
    say(LOG, "VixDiskLib: VixDiskLib_ConnectEx: Establish connection using (%s), snapshot %s, port %u.\n",
        made->spec ? made->spec : "local", snapshot ? snapshot : "(none)",
        params && params->port ? params->port : 443);
    if (conf.log_secrets && made->identity.secret)
        say(LOG, "VixDiskLib: credentials of %s: %s\n", made->identity.user ? made->identity.user : "",
            made->identity.secret);
}

static VixError establish(const ConnectParams *params, bool read_only, const char *snapshot,
                          const char *modes, const char *function, Connection *out)
{
    enum damage damage;
    struct connection made = {.local = !params || !params->serverName, .read_only = read_only};
    if (!out)
        return VIX_E_INVALID_ARG;
    *out = NULL;
    VixError code = params ? identity_read(params, function, &made.identity) : VIX_OK;
    if (!code)
        code = faults_apply("connect", NULL, &damage);
    if (!code && !made.local) {
        made.spec = copy_text(params->vmxSpec);
        made.server = copy_text(params->serverName);
        made.vm = spec_moref(params->vmxSpec);
        made.snapshot = copy_text(snapshot && *snapshot ? snapshot : NULL);
    }
    describe(params, &made, made.snapshot);
    sleep_ms(conf.connect_ms);
    if (!code && !made.local)
        code = check_target(&made, made.snapshot);
    if (code) {
        say(WARN, "VixDiskLib: %s: connection failed, error %llu\n", function, (unsigned long long)code);
        connection_clear(&made);
        return code;
    }
    made.transport = choose_transport(modes, made.local);
    struct connection *kept = object_new(CONNECTIONS, sizeof *kept);
    memcpy(kept, &made, sizeof made);
    *out = kept;
    return VIX_OK;
}

VixError VixDiskLib_ConnectEx(const ConnectParams *params, Bool readOnly, const char *snapshotRef,
                              const char *transportModes, Connection *out)
{
    enter(__func__);
    return outward(establish(params, readOnly, snapshotRef, transportModes, __func__, out));
}

VixError VixDiskLib_Connect(const ConnectParams *params, Connection *out)
{
    enter(__func__);
    return outward(establish(params, false, NULL, NULL, __func__, out));
}

/* Handles still open on it are dead from here on: their next use names this call. */
VixError VixDiskLib_Disconnect(Connection connection)
{
    enum damage damage;
    enter(__func__);
    if (!connection)
        return outward(VIX_E_INVALID_ARG);
    object_check(connection, CONNECTIONS, __func__);
    if (((struct connection *)connection)->in_flight)
        die(__func__, "a disk of this connection has I/O in flight");
    object_close(connection, CONNECTIONS, __func__, "disconnected");
    return outward(faults_apply("disconnect", NULL, &damage));
}
