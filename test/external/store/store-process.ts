import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CertificateAuthority } from '../../harness/certificates.ts';
import { freePort } from '../../harness/http-server.ts';
import { keepParts, type Lifetime, temporaryFolder } from '../../harness/lifetime.ts';
import { runProgram, succeeded } from '../../harness/run-command.ts';
import { type ServerProcess, startServer } from '../../harness/server-process.ts';
import { findStore, type StorePrograms } from './programs.ts';

export interface StoreOptions {
  /** The default is Valkey. */
  readonly programs?: StorePrograms;
  /** Given: the server speaks TLS alone. */
  readonly tls?: CertificateAuthority;
  /** The ACL user `cambist`, with its rules, as `~cambist:* +@all`. The default user is off then. */
  readonly user?: { readonly password: string; readonly rules: string };
  readonly config?: readonly string[];
  readonly args?: readonly string[];
  /** Its file of ACL users, to which the harness adds its own. */
  readonly aclFile?: string;
  readonly port?: number;
  readonly isSentinel?: boolean;
}

export type StoreProcess = Awaited<ReturnType<typeof startStore>>;

/** A password of the harness alone. */
const ADMIN = { username: 'harness', password: 'harness-admin-password' };

const ADMIN_LINE = `user ${ADMIN.username} on >${ADMIN.password} ~* &* +@all`;

/** Starts one server, which keeps nothing on disk. @throws Error with its output, if it exits */
export async function startStore(t: Lifetime, options: StoreOptions = {}) {
  const parts = keepParts();
  t.after(parts.close);
  const { programs = findStore('valkey'), tls, user, aclFile, args = [] } = options;
  const hasUsers = user !== undefined || aclFile !== undefined;
  const port = options.port ?? (await freePort());
  const directory = temporaryFolder(parts);
  const lines = [...(await baseConfig(options, port, directory)), ...(options.config ?? [])];
  const file = join(directory, 'store.conf');
  await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o600 });
  if (aclFile !== undefined) await appendFile(aclFile, `${ADMIN_LINE}\n`);
  const env = { ...programs.env, ...(hasUsers && { REDISCLI_AUTH: ADMIN.password }) };
  let server: ServerProcess | undefined;
  const launch = async (): Promise<void> => {
    server = await startServer({
      command: programs.server,
      args: [file, ...args, ...(options.isSentinel ? ['--sentinel'] : [])],
      cwd: directory,
      env: programs.env,
      // Another server on this port has another file.
      readyUrl: async () => (await ask('INFO', 'server')).includes(file),
      stopSignal: 'SIGKILL',
    });
    parts.keep(server);
  };
  const cliArgs = ['-p', String(port), ...(tls === undefined ? [] : ['--tls', '--cacert', join(directory, 'ca.pem')])];
  if (hasUsers) cliArgs.push('--user', ADMIN.username);
  const cli = async (...args: readonly string[]): Promise<string> =>
    succeeded(await runProgram(programs.cli, ['--no-auth-warning', ...cliArgs, ...args], { env })).trimEnd();
  const ask = (...command: readonly string[]): Promise<string> => cli('-e', ...command);
  const kill = async (): Promise<void> => server?.close();
  await launch();
  return {
    port,
    /** Runs a command as an administrator. @throws Error with the error of the store */
    ask,
    cli,
    /** SIGSTOP: its connections stay open, and nothing responds. */
    pause: () => server?.signal('SIGSTOP'),
    resume: () => server?.signal('SIGCONT'),
    /** SIGKILL. */
    kill,
    /** Starts it again on the same port, without its data. */
    restartEmpty: async (): Promise<void> => {
      await kill();
      await launch();
    },
    close: parts.close,
  };
}

async function baseConfig(options: StoreOptions, port: number, directory: string): Promise<string[]> {
  const { tls, user, isSentinel = false } = options;
  const lines = ['bind 127.0.0.1', `dir ${directory}`, 'protected-mode no', 'daemonize no', 'loglevel notice'];
  if (!isSentinel) lines.push('save ""', 'appendonly no', 'rdbcompression no', 'repl-diskless-sync-delay 0');
  if (tls === undefined) lines.push(`port ${port}`);
  else lines.push('port 0', ...(await tlsConfig(tls, port, directory)));
  if (user !== undefined) {
    lines.push('user default off', ADMIN_LINE, `user cambist on >${user.password} ${user.rules}`);
  }
  return lines;
}

async function tlsConfig(authority: CertificateAuthority, port: number, directory: string): Promise<string[]> {
  const { cert, key } = authority.issueServer();
  await writeFile(join(directory, 'ca.pem'), authority.cert);
  await writeFile(join(directory, 'cert.pem'), cert);
  await writeFile(join(directory, 'key.pem'), key, { mode: 0o600 });
  return [
    `tls-port ${port}`,
    'tls-cert-file cert.pem',
    'tls-key-file key.pem',
    'tls-ca-cert-file ca.pem',
    'tls-auth-clients no',
  ];
}
