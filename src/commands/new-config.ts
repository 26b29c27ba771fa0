import { stringify } from 'yaml';
import { POD_FOLDERS } from '../kubernetes/check-pod.ts';

/** The choices of `cambist init`. */
export interface ConfigChoices {
  /** Name and path of the route. */
  readonly route: string;
  /** URL of the backend. */
  readonly backend: string;
  readonly issuer: string;
  readonly clientId: string;
  /** The server's name of the backend. Undefined: the backend is named by its URL. */
  readonly audience: string | undefined;
  readonly scope: string | undefined;
  readonly secret: { readonly env: string } | { readonly file: string };
  /** The config is for the sidecar of a pod. */
  readonly pod: boolean;
}

/** `cambist inject --secret` mounts the Secret here. */
export const SECRET_IN_POD = `${POD_FOLDERS.secret}/client-secret`;

/** Writes a config file with comments. The values are quoted as YAML needs it, and not checked. */
export function newConfig({ route, backend, issuer, clientId, audience, scope, secret, pod }: ConfigChoices): string {
  const admin = pod
    ? '# Metrics, health checks and the status page. The kubelet and Prometheus connect from outside the pod.\nadmin: 0.0.0.0:9180'
    : '# Metrics, health checks and the status page.\nadmin: 127.0.0.1:9180';
  const limits = pod
    ? '\nlimits:\n  # Fits into the memory limit that "cambist inject" sets, 256 MiB.\n  max_in_flight: 1000\n'
    : '';
  const named =
    audience === undefined
      ? [
          '# The token is requested for the URL of the upstream (RFC 8707). If the server knows the backend by another',
          '# name, set resource or audience.',
        ]
      : ["# The authorization server's name of the backend.", `audience: ${inline(audience)}`];
  const source = 'env' in secret ? `{ env: ${inline(secret.env)} }` : `{ file: ${inline(secret.file)} }`;
  const scoped = scope === undefined ? [] : [`scope: ${inline(scope)}`];
  return `# Made by "cambist init". config/README.md explains every key.
version: 1

# Where the agent connects. On loopback, only ${pod ? 'containers of this pod' : 'this machine'} can.
listen: 127.0.0.1:8180
${admin}

authorization_servers:
  # Any name: it is a label in the log and in metrics.
  main:
    # cambist reads the server's metadata here. The metadata must name exactly this issuer.
    issuer: ${inline(issuer)}
    # cambist's client at this server. The server must allow it to exchange tokens.
    client_id: ${inline(clientId)}
    client_auth:
      method: client_secret_basic
      # The secret itself is never in this file. A secret in a file of its own may change while cambist runs.
      client_secret: ${source}
${limits}
routes:
  # The agent calls http://127.0.0.1:8180/${route} in place of the backend's URL.
  - name: ${inline(route)}
    match: { path: ${inline(`/${route}`)} }
    upstream: ${inline(backend)}
${[...named, ...scoped].map((line) => `    ${line}\n`).join('')}`;
}

/** Characters that have no meaning in YAML within a word, in block and flow style. */
const WORD = /^[\w./:?=&%+~@-]+$/;

/** A string in one line of YAML, plain if it may be. Every string of JSON is one of YAML. */
function inline(text: string): string {
  return WORD.test(text) && stringify(text, { lineWidth: 0 }).trimEnd() === text ? text : JSON.stringify(text);
}
