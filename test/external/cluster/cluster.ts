import { randomBytes, randomInt } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { freePort } from '../../harness/http-server.ts';
import { BUILT_PROGRAM, type CommandResult, runProgram } from '../../harness/run-command.ts';
import { type ServerProcess, startServer } from '../../harness/server-process.ts';
import { installKubernetes } from '../installs.ts';
import { guideScript, type Metadata, succeeded } from './objects.ts';

export type Cluster = Awaited<ReturnType<typeof startCluster>>;

interface ClusterOptions {
  /** Namespaces, each with the Pod Security Standard that it enforces. */
  readonly namespaces?: Readonly<Record<string, 'restricted' | 'baseline' | 'privileged'>>;
  /** Installs the webhook, without a pod of it. */
  readonly webhook?: true;
  /** See `addKinds`. */
  readonly kinds?: readonly string[];
  readonly path?: string;
  /**
   * Its pods run, in namespaces that end its programs, and reach the API server and Services at these addresses. The default is
   * loopback addresses.
   */
  readonly network?: Network;
}

interface Network {
  /** The address of the API server. */
  readonly address: string;
  /** The addresses of Services. */
  readonly services: string;
  /** The names and addresses of the API server for pods. */
  readonly hosts: readonly string[];
  readonly issuer: string;
}

const DEPLOY = fileURLToPath(new URL('../../../deploy/', import.meta.url));
export const CRDS = fileURLToPath(new URL('../../harness/fixtures/crds/', import.meta.url));
const START_TIMEOUT_MS = 120_000;
/** The usual port, which NetworkPolicies of the pages allow. */
const API_PORT = 6443;

/**
 * Starts a control plane without nodes for the tests of a file: etcd and kube-apiserver. It stores pods and does not run them.
 * @throws Error with the output of the program that did not start
 */
export async function startCluster(options: ClusterOptions = {}) {
  const { namespaces = {}, webhook, kinds = [], path = '', network } = options;
  const programs = await installKubernetes();
  const folder = await mkdtemp(join(tmpdir(), 'cluster-'));
  const servers: ServerProcess[] = [];
  const close = async () => {
    for (const server of servers.reverse()) await server.close();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const etcd = await startEtcd(join(programs, 'server'), folder);
    servers.push(etcd);
    const apiServer = await prepareApiServer(join(programs, 'kube-apiserver'), folder, etcd.url, network);
    servers.push(await apiServer.start());
    const env = await commandEnvironment(folder, [programs, path], apiServer);
    const cluster = {
      ...commands(await workFolder(folder, 'work'), env),
      /** The same commands in another folder, for files with names that several pages use. */
      inFolder: async (name: string) => commands(await workFolder(folder, name), env),
      folder,
      close,
      apiServer,
      programs,
      /** Starts the API server again. It signs tokens with a new key, and accepts those of the previous one. */
      async rotateSigningKey(): Promise<void> {
        await servers.pop()?.close();
        await apiServer.addSigningKey();
        servers.push(await apiServer.start());
      },
    };
    if (kinds.length > 0) await cluster.addKinds(...kinds);
    for (const [name, standard] of Object.entries(namespaces)) {
      await cluster.createNamespace(name, { 'pod-security.kubernetes.io/enforce': standard });
    }
    if (webhook) await installWebhook(cluster);
    if (network === undefined) after(close);
    return cluster;
  } catch (error) {
    await close();
    throw error;
  }
}

/** Creates a folder in which commands run as at the root of the repository. */
async function workFolder(folder: string, name: string): Promise<string> {
  await mkdir(join(folder, name));
  await symlink(DEPLOY, join(folder, name, 'deploy'));
  return join(folder, name);
}

function commands(cwd: string, env: Readonly<Record<string, string>>) {
  /** Runs kubectl, with an optional object as JSON on standard input. */
  const kubectl = (args: readonly string[], input?: object): Promise<CommandResult> =>
    runProgram('kubectl', args, { env, cwd, ...(input === undefined ? {} : { input: JSON.stringify(input) }) });
  /**
   * Runs a script as at the root of the repository, with `kubectl` for this cluster and the built `cambist`. Later scripts see
   * the files that it writes into the working folder.
   */
  const shell = (script: string): Promise<CommandResult> =>
    runProgram('bash', ['-euo', 'pipefail', '-c', script], { env, cwd });
  /** Runs a script that must succeed. @returns its standard output */
  const run = async (script: string): Promise<string> => succeeded(await shell(script));
  const create = async <T>(manifest: object, ...flags: readonly string[]): Promise<T> => {
    const args = ['create', '--validate=strict', '-o', 'json', '-f', '-', ...flags];
    return JSON.parse(succeeded(await kubectl(args, manifest))) as T;
  };
  const createDefaultAccount = async (namespace: string): Promise<void> => {
    await create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace } });
  };
  return {
    kubectl,
    shell,
    run,
    create,
    createDefaultAccount,
    write: (name: string, content: string): Promise<void> => writeFile(join(cwd, name), content),
    /** Runs the block of the guide that contains this text, without commands that do not exit. @returns its standard output */
    follow: (text: string): Promise<string> => run(guideScript(text).replace(/^.* --watch$/m, '')),
    /** @param args of `kubectl get`: kind, name, namespace */
    read: async <T>(...args: readonly string[]): Promise<T> =>
      JSON.parse(succeeded(await kubectl(['get', '-o', 'json', ...args]))) as T,
    async createNamespace(name: string, labels: Metadata['labels'] = {}): Promise<void> {
      await create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
      await createDefaultAccount(name);
    },
    /** Creates kinds, from files of `test/harness/fixtures/crds`. */
    async addKinds(...files: readonly string[]): Promise<void> {
      for (const file of files) await run(`kubectl apply --server-side -f ${CRDS}${file}`);
      await run('kubectl wait --for=condition=Established crd --all');
    },
  };
}

/** Applies the manifests of `deploy/webhook/base`, with a certificate of `gen-certs`. */
export async function installWebhook({ follow }: Pick<ReturnType<typeof commands>, 'follow'>): Promise<void> {
  await follow('cambist gen-certs - |');
}

async function startEtcd(command: string, folder: string): Promise<ServerProcess & { url: string }> {
  const [url, peerUrl] = [`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`];
  const server = await startServer({
    command,
    args: [
      `--data-dir=${join(folder, 'etcd')}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      // The data need not survive a crash.
      '--unsafe-no-fsync',
    ],
    cwd: folder,
    readyUrl: `${url}/health`,
    startTimeoutMs: START_TIMEOUT_MS,
  });
  return { ...server, url };
}

interface ApiServer {
  readonly url: string;
  readonly ca: string;
  start(): Promise<ServerProcess>;
  addSigningKey(): Promise<void>;
  /** The token of a cluster administrator. */
  readonly token: string;
}

async function prepareApiServer(
  command: string,
  folder: string,
  etcdUrl: string,
  network: Network | undefined,
): Promise<ApiServer> {
  const authority = createCertificateAuthority('cluster');
  const { address = '127.0.0.1', hosts = [], issuer = 'https://kubernetes.default.svc' } = network ?? {};
  const { cert, key } = authority.issueServer({ hosts: [address, ...hosts] });
  const token = randomBytes(16).toString('hex');
  const file = (name: string) => join(folder, name);
  await writeFile(file('tls.crt'), cert);
  await writeFile(file('tls.key'), key);
  await writeFile(file('ca.crt'), authority.cert);
  await writeFile(file('tokens.csv'), `${token},admin,admin,system:masters\n`);
  const port = network === undefined ? await freePort() : API_PORT;
  const url = `https://${address}:${port}`;
  // Without nodes, a program that listens on a loopback address replaces kube-proxy and a pod.
  const services = network?.services ?? `127.${randomInt(16, 255)}.0.0/16`;
  const signers = ['tls'];
  const start = () => {
    const args = [
      `--etcd-servers=${etcdUrl}`,
      `--bind-address=${address}`,
      `--secure-port=${port}`,
      `--advertise-address=${address}`,
      ...(network === undefined ? ['--endpoint-reconciler-type=none'] : []),
      `--tls-cert-file=${file('tls.crt')}`,
      `--tls-private-key-file=${file('tls.key')}`,
      `--token-auth-file=${file('tokens.csv')}`,
      '--authorization-mode=RBAC',
      `--service-account-issuer=${issuer}`,
      ...signers.map((name) => `--service-account-key-file=${file(`${name}.crt`)}`),
      `--service-account-signing-key-file=${file(`${signers.at(-1)}.key`)}`,
      `--service-cluster-ip-range=${services}`,
    ];
    const ready = { readyUrl: `${url}/readyz`, ca: authority.cert, startTimeoutMs: START_TIMEOUT_MS };
    const once = () => startServer({ command, args, cwd: folder, ...ready });
    // On a busy machine one of its own hooks can time out. It then exits, and expects to be started again.
    return once().catch(once);
  };
  const addSigningKey = async (): Promise<void> => {
    const name = `signer-${signers.length}`;
    const next = authority.issueServer();
    await writeFile(file(`${name}.crt`), next.cert);
    await writeFile(file(`${name}.key`), next.key);
    signers.push(name);
  };
  return { url, ca: authority.cert, token, start, addSigningKey };
}

/** The environment for this cluster's `kubectl` and the built `cambist`. kubectl keeps its cache in the folder too. */
async function commandEnvironment(folder: string, programs: string[], { url, ca, token }: ApiServer) {
  const kubeconfig = join(folder, 'kubeconfig');
  await writeFile(kubeconfig, JSON.stringify(kubeconfigFor(url, ca, token)));
  const bin = join(folder, 'bin');
  await mkdir(bin);
  await writeFile(join(bin, 'cambist'), `#!/bin/sh\nexec "${process.execPath}" "${BUILT_PROGRAM}" "$@"\n`);
  await chmod(join(bin, 'cambist'), 0o755);
  return { KUBECONFIG: kubeconfig, HOME: folder, PATH: [bin, ...programs, process.env.PATH].join(delimiter) };
}

function kubeconfigFor(server: string, ca: string, token: string) {
  const data = Buffer.from(ca).toString('base64');
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority-data': data } }],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
    'current-context': 'test',
  };
}
