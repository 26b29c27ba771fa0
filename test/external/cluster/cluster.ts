import { randomBytes, randomInt } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { freePort } from '../../harness/free-port.ts';
import { BUILT_PROGRAM, type CommandResult, runProgram } from '../../harness/run-command.ts';
import { type ServerProcess, startServer } from '../../harness/server-process.ts';
import { buildPrograms } from './programs.ts';

/** A control plane without nodes: etcd and kube-apiserver. It stores pods and does not run them. */
export interface Cluster {
  /** Deleted by `close`. */
  readonly folder: string;
  /** Runs kubectl, with an optional object as JSON on standard input. */
  kubectl(args: readonly string[], input?: object): Promise<CommandResult>;
  /**
   * Runs a script as at the root of the repository, with `kubectl` for this cluster and the built `cambist`. Later scripts see
   * the files that it writes into the working folder.
   */
  shell(script: string): Promise<CommandResult>;
  close(): Promise<void>;
}

const DEPLOY = fileURLToPath(new URL('../../../deploy/', import.meta.url));
const START_TIMEOUT_MS = 120_000;

/** @throws Error with the output of the program that did not start */
export async function startCluster(): Promise<Cluster> {
  const programs = await buildPrograms();
  const folder = await mkdtemp(join(tmpdir(), 'cluster-'));
  const servers: ServerProcess[] = [];
  const close = async () => {
    for (const server of servers.reverse()) await server.close();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const etcd = await startEtcd(programs.etcd, folder);
    servers.push(etcd);
    const apiServer = await startApiServer(programs.apiServer, folder, etcd.url);
    servers.push(apiServer);
    const env = await commandEnvironment(folder, programs.folder, apiServer);
    const cwd = join(folder, 'work');
    return {
      folder,
      kubectl: (args, input) =>
        runProgram('kubectl', args, { env, cwd, ...(input === undefined ? {} : { input: JSON.stringify(input) }) }),
      shell: (script) => runProgram('bash', ['-euo', 'pipefail', '-c', script], { env, cwd }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
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

interface ApiServer extends ServerProcess {
  readonly url: string;
  /** PEM. */
  readonly ca: string;
  /** The token of a cluster administrator. */
  readonly token: string;
}

async function startApiServer(command: string, folder: string, etcdUrl: string): Promise<ApiServer> {
  const authority = createCertificateAuthority('cluster');
  const { cert, key } = authority.issueServer();
  const token = randomBytes(16).toString('hex');
  const file = (name: string) => join(folder, name);
  await writeFile(file('tls.crt'), cert);
  await writeFile(file('tls.key'), key);
  await writeFile(file('tokens.csv'), `${token},admin,admin,system:masters\n`);
  const port = await freePort();
  const url = `https://127.0.0.1:${port}`;
  const server = await startServer({
    command,
    args: [
      `--etcd-servers=${etcdUrl}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${port}`,
      '--advertise-address=127.0.0.1',
      '--endpoint-reconciler-type=none',
      `--tls-cert-file=${file('tls.crt')}`,
      `--tls-private-key-file=${file('tls.key')}`,
      `--token-auth-file=${file('tokens.csv')}`,
      '--authorization-mode=RBAC',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${file('tls.crt')}`,
      `--service-account-signing-key-file=${file('tls.key')}`,
      // Addresses of Services are loopback addresses. A program that listens on one replaces kube-proxy and a pod.
      `--service-cluster-ip-range=127.${randomInt(16, 255)}.0.0/16`,
    ],
    cwd: folder,
    readyUrl: `${url}/readyz`,
    ca: authority.cert,
    startTimeoutMs: START_TIMEOUT_MS,
  });
  return { ...server, url, ca: authority.cert, token };
}

/** The environment for this cluster's `kubectl` and the built `cambist`. kubectl keeps its cache in the folder too. */
async function commandEnvironment(folder: string, programs: string, { url, ca, token }: ApiServer) {
  const kubeconfig = join(folder, 'kubeconfig');
  await writeFile(kubeconfig, JSON.stringify(kubeconfigFor(url, ca, token)));
  const bin = join(folder, 'bin');
  await mkdir(bin);
  await writeFile(join(bin, 'cambist'), `#!/bin/sh\nexec "${process.execPath}" "${BUILT_PROGRAM}" "$@"\n`);
  await chmod(join(bin, 'cambist'), 0o755);
  await mkdir(join(folder, 'work'));
  await symlink(DEPLOY, join(folder, 'work', 'deploy'));
  return { KUBECONFIG: kubeconfig, HOME: folder, PATH: [bin, programs, process.env.PATH].join(delimiter) };
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
