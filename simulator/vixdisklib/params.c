/* Connect params: only blocks whose opaque state this library made are accepted (from 6.7). */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

ConnectParams *VixDiskLib_AllocateConnectParams(void)
{
    enter(__func__);
    ConnectParams *params = object_new(PARAMS, sizeof *params);
    params->state = params;
    return params;
}

void VixDiskLib_FreeConnectParams(ConnectParams *params)
{
    enter(__func__);
    if (params && version_below(6, 7, 0) && !object_is(params, PARAMS))
        die(__func__, "%p was not allocated by this library", (void *)params);
    object_free(params, PARAMS, __func__);
}

VixError identity_read(const ConnectParams *params, const char *function, struct identity *out)
{
    *out = (struct identity){.cred_type = 0};
    if (!version_below(6, 7, 0)) {
        if (!params->state || !object_is(params->state, PARAMS))
            die(function, "connect params whose state was not set by VixDiskLib_AllocateConnectParams");
        if (params->specType != SPEC_VMX)
            return VIX_E_NOT_SUPPORTED;
    }
    if (!params->serverName)
        return VIX_OK;
    out->cred_type = params->credType;
    out->thumbprint = copy_text(params->thumbPrint);
    if (params->credType == CRED_UID) {
        out->user = copy_text(params->creds.uid.userName);
        out->secret = copy_text(params->creds.uid.password);
    } else if (params->credType == CRED_SESSIONID) {
        out->user = copy_text(params->creds.sessionId.userName);
        out->secret = copy_text(params->creds.sessionId.cookie);
    }
    return VIX_OK;
}

void identity_free(struct identity *identity)
{
    free(identity->user);
    free(identity->thumbprint);
    if (identity->secret)
        explicit_bzero(identity->secret, strlen(identity->secret));
    free(identity->secret);
    *identity = (struct identity){.cred_type = 0};
}

char *spec_moref(const char *spec)
{
    static const char *const prefixes[] = {"moref=", "moid="};
    for (size_t i = 0; spec && i < 2; i++) {
        size_t length = strlen(prefixes[i]);
        if (!strncmp(spec, prefixes[i], length) && plain_name(spec + length))
            return copy_text(spec + length);
    }
    return NULL;
}

static char *put(char **at, const char *text)
{
    if (!text)
        return NULL;
    char *start = *at;
    *at = stpcpy(start, text) + 1;
    return start;
}

static size_t room(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* The strings lie behind the structure and die with it; the secret is not given out. */
VixError VixDiskLib_GetConnectParams(Connection connection, ConnectParams **out)
{
    enter(__func__);
    if (!connection || !out)
        return outward(VIX_E_INVALID_ARG);
    object_check(connection, CONNECTIONS, __func__);
    const struct connection *from = connection;
    const struct identity *who = &from->identity;
    ConnectParams *params = object_new(PARAMS, sizeof *params + room(from->spec) + room(from->server) +
                                                   room(who->thumbprint) + room(who->user));
    char *at = (char *)(params + 1);
    params->state = params;
    params->vmxSpec = put(&at, from->spec);
    params->serverName = put(&at, from->server);
    params->thumbPrint = put(&at, who->thumbprint);
    params->credType = who->cred_type;
    if (who->cred_type == CRED_SESSIONID)
        params->creds.sessionId.userName = put(&at, who->user);
    else
        params->creds.uid.userName = put(&at, who->user);
    *out = params;
    return VIX_OK;
}
