import { existsSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { stringify } from 'yaml';
import { parseConfig } from '../config/load.ts';
import { errorCode } from '../errors.ts';
import { POD_FOLDERS } from '../kubernetes/check-pod.ts';
import { type Command, EXIT, failed, UsageError } from './command.ts';
import { printProblems } from './report-problems.ts';
import { USAGES } from './usages.ts';

/** The values of the flags, whether they were given or typed after a question. */
export type Answers = ReturnType<typeof parseArgs<{ options: typeof USAGES.init.flags }>>['values'];

interface Question {
  readonly text: string;
  /** Used for empty input. Undefined: input is required. */
  readonly fallback?: string;
  readonly isUrl?: true;
}

/** Asked on a terminal, in this order, unless the flag is given. */
const QUESTIONS = {
  backend: { text: 'URL of the backend, an MCP server', isUrl: true },
  issuer: { text: 'Issuer of your authorization server, a URL', isUrl: true },
  'client-id': { text: "Id of cambist's client there", fallback: 'cambist' },
  audience: { text: "The server's name of the backend (Keycloak, Okta, Auth0); empty: its URL", fallback: '' },
} as const satisfies Record<string, Question>;

const NAMES = Object.keys(QUESTIONS) as (keyof typeof QUESTIONS)[];

/** Writes a config file from flags, and from what is typed on a terminal. Never overwrites a file. */
export const init: Command = async (args) => {
  const { values: answers } = parseArgs({ args: [...args], options: USAGES.init.flags });
  const { config: file } = answers;
  // Before the questions, and again when the file is written.
  if (existsSync(file)) return failed(exists(file));
  const open = NAMES.filter((name) => answers[name] === undefined);
  const required = open.filter((name) => !('fallback' in QUESTIONS[name]));
  if (required.length > 0) {
    if (process.stdin.isTTY !== true)
      throw new UsageError(`init needs ${required.map((name) => `--${name}`).join(' and ')}`);
    if (!(await ask(open, answers))) return failed('\nthe questions were not answered; nothing is written');
  }
  checkSecret(answers);
  const text = newConfig(answers);
  const { config, problems } = parseConfig(text, file);
  if (config === undefined) {
    printProblems(problems);
    return failed(`${file} is not written: correct the values`);
  }
  const failure = await writeNew(file, text);
  if (failure !== undefined) return failed(failure);
  console.log(nextSteps(answers));
  return EXIT.done;
};

function exists(file: string): string {
  // A link whose target does not exist has no stats.
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory())
    return `${file} is a folder: name a file in it with --config`;
  return `${file} exists and is left unchanged: delete it, or name another file with --config`;
}

function checkSecret({ 'secret-env': env, 'secret-file': file, pod, gateway }: Answers): void {
  if (env !== undefined && file !== undefined)
    throw new UsageError('--secret-env and --secret-file exclude each other');
  if (pod && gateway !== undefined) throw new UsageError('--pod and --gateway exclude each other');
  if (env !== undefined && (pod || gateway !== undefined))
    throw new UsageError(`--${pod ? 'pod' : 'gateway'} needs the secret as a file: leave out --secret-env`);
}

function secretOf({ 'secret-env': env, 'secret-file': file, pod, gateway }: Answers) {
  if (file !== undefined) return { file };
  return pod || gateway !== undefined ? { file: SECRET_IN_POD } : { env: env ?? 'CAMBIST_CLIENT_SECRET' };
}

/** Asks the open questions. @returns false if the input ends first */
async function ask(open: readonly (keyof typeof QUESTIONS)[], answers: Answers): Promise<boolean> {
  // A script with a code cache cannot import.
  const { createInterface } = process.getBuiltinModule('node:readline/promises');
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  // The iterator keeps lines that come before their question, as when several are pasted. `question` would lose them.
  const typed = lines[Symbol.asyncIterator]();
  try {
    for (const name of open) {
      const question: Question = QUESTIONS[name];
      const { text, fallback } = question;
      lines.setPrompt(`${text}${fallback === undefined || fallback === '' ? '' : ` [${fallback}]`}: `);
      let answer: string | undefined;
      while (answer === undefined) {
        lines.prompt();
        const { done, value } = await typed.next();
        if (done === true) return false;
        answer = accepted(value.trim() === '' ? fallback : value.trim(), question);
        if (answer === undefined) console.log('Write a URL, such as https://example.com/path.');
      }
      answers[name] = answer;
    }
    return true;
  } finally {
    lines.close();
  }
}

function accepted(answer: string | undefined, { isUrl }: Question): string | undefined {
  return answer !== undefined && isUrl === true && !isHttpUrl(answer) ? undefined : answer;
}

/** `localhost:9000/mcp` is a URL too, of the scheme `localhost`. */
function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && ['http:', 'https:'].includes(new URL(text).protocol);
}

/** @returns why the file cannot be written */
async function writeNew(file: string, text: string): Promise<string | undefined> {
  try {
    await writeFile(file, text, { flag: 'wx' });
    return undefined;
  } catch (error) {
    const code = errorCode(error) ?? 'unknown error';
    if (code === 'EEXIST') return exists(file);
    if (code === 'ENOENT') return `${file} cannot be written: its folder does not exist: create the folder first`;
    return `${file} cannot be written (${code}): name another file with --config`;
  }
}

/** The commands that come next, as this program was called. */
function nextSteps(answers: Answers): string {
  const { config: file, route, pod, gateway } = answers;
  const secret = secretOf(answers);
  const program = programName();
  const written = `${file} is written and valid.`;
  if (gateway !== undefined)
    return `${written} Next, copy it to cambist.yaml in a copy of deploy/gateway/agents, and follow deploy/gateway-agents.md.`;
  if (pod) {
    return `${written} Next, with the client secret in the file client-secret:
  kubectl create secret generic cambist --from-file=client-secret
  ${program} inject --image IMAGE --config ${file} --secret cambist agent.yaml | kubectl apply -f -`;
  }
  const given = 'env' in secret ? `the client secret in $${secret.env}` : `the client secret in ${secret.file}`;
  return `${written} Next, with ${given} and a caller's token in the file token:
  ${program} doctor --config ${file} --subject-token-file token
  ${program} run --config ${file}
Then give the agent the URL http://127.0.0.1:8180/${route} in place of the backend's.`;
}

function programName(): string {
  const script = process.argv[1] ?? 'cambist';
  return basename(script) === 'main.js' ? `node ${relative('.', script)}` : basename(script);
}

/** `cambist inject --secret` mounts the Secret here. */
export const SECRET_IN_POD = `${POD_FOLDERS.secret}/client-secret`;

/** Writes a config file with comments. The values are quoted as YAML needs it, and not checked. */
export function newConfig(answers: Answers): string {
  const { route, backend = '', issuer = '', audience = '', scope, pod, gateway } = answers;
  const clientId = answers['client-id'] ?? QUESTIONS['client-id'].fallback;
  const secret = secretOf(answers);
  const admin =
    pod || gateway !== undefined
      ? '# Metrics, health checks and the status page. The kubelet and Prometheus connect from outside the pod.\nadmin: 0.0.0.0:9180'
      : '# Metrics, health checks and the status page.\nadmin: 127.0.0.1:9180';
  const limits = pod
    ? '\nlimits:\n  # Fits into the memory limit that "cambist inject" sets, 256 MiB.\n  max_in_flight: 500\n'
    : '';
  const named =
    audience === ''
      ? [
          '# The token is requested for the URL of the upstream (RFC 8707). If the server knows the backend by another',
          '# name, set resource or audience.',
        ]
      : ["# The authorization server's name of the backend.", `audience: ${inline(audience)}`];
  const { listen, agents, url, match, limited } = gateway === undefined ? ofSidecar(pod) : ofGateway(gateway, issuer);
  const source = 'env' in secret ? `{ env: ${inline(secret.env)} }` : `{ file: ${inline(secret.file)} }`;
  const scoped = scope === undefined ? [] : [`scope: ${inline(scope)}`];
  return `# Made by "cambist init". config/README.md explains every key.
version: 1

${listen}
${admin}
${agents}
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
  # The agent calls ${url}/${route} in place of the backend's URL.
  - name: ${inline(route)}
    match: { ${match}path: ${inline(`/${route}`)} }
    upstream: ${inline(backend)}
${[...limited, ...named, ...scoped].map((line) => `    ${line}\n`).join('')}`;
}

function ofSidecar(pod: boolean | undefined) {
  const listen = `# Where the agent connects. On loopback, only ${pod ? 'containers of this pod' : 'this machine'} can.
listen: 127.0.0.1:8180`;
  return { listen, agents: '', url: 'http://127.0.0.1:8180', match: '', limited: [] };
}

/** The name of the Service in the manifests of the gateway. */
const GATEWAY_HOST = 'cambist-gateway.agents.svc';

/** @param account of the first agent, as `namespace/name` */
function ofGateway(account: string, issuer: string) {
  const name = account.replace(/^.*\//s, '').replaceAll('.', '-');
  const folder = POD_FOLDERS.serviceAccount;
  const listen = `# Where agents connect. The certificate is that of a Secret of type kubernetes.io/tls.
listen:
  address: 0.0.0.0:8180
  tls:
    certificate: { file: /var/run/secrets/tls/tls.crt }
    private_key: { file: /var/run/secrets/tls/tls.key }`;
  const agents = `
agents:
  # Each agent has a token of its service account, for this audience.
  token:
    header: x-agent-token
    audience: cambist
    # The issuer of the cluster: kubectl get --raw /.well-known/openid-configuration
    issuer: https://kubernetes.default.svc.cluster.local
    jwks_uri: https://kubernetes.default.svc/openid/v1/jwks
    jwks_token: { file: ${folder}/token }
    tls: { ca: { file: ${folder}/ca.crt } }
  known:
    ${inline(name)}: { service_account: ${inline(account)} }

defaults:
  subject_token:
    # Refuses made-up tokens before they cost a request to the authorization server.
    verify: { issuer: ${inline(issuer)} }
`;
  const limited = [
    '# The agents that may use this route. Without this key, every known agent may.',
    `agents: [${inline(name)}]`,
  ];
  return { listen, agents, url: `https://${GATEWAY_HOST}:8180`, match: `host: ${GATEWAY_HOST}, `, limited };
}

/** Characters that have no meaning in YAML within a word, in block and flow style. */
const WORD = /^[\w./:?=&%+~@-]+$/;

/** A string in one line of YAML, plain if it may be. Every string of JSON is one of YAML. */
function inline(text: string): string {
  return WORD.test(text) && stringify(text, { lineWidth: 0 }).trimEnd() === text ? text : JSON.stringify(text);
}
