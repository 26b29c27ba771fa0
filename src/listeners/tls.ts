import { X509Certificate } from 'node:crypto';
import type { ServerOptions } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import { clientCertificateRule, type Listen, type ListenerFiles, type ListenerTls } from '../config/addresses.ts';
import type { Logger } from '../observability/logger.ts';
import { readCredential, unavailable } from '../secrets/credential.ts';
import type { WorkloadApi } from '../spiffe/workload-api.ts';
import { type ClientTrust, type Issuers, setClient } from './client-certificates.ts';
import { handshaking, secured } from './idle-connection.ts';

/** Longest handshake. Node's default is two minutes. */
const HANDSHAKE_MS = 10_000;

/**
 * Fastify's options for the server of a listener. With TLS, the server is one of `node:https`. It does all that one of `node:http` does,
 * and refuses every handshake until it has a certificate. Both have one type here, or Fastify's types would spread through cambist.
 */
export function serverOptions(tls: ListenerTls | undefined, http: ServerOptions): { readonly http: ServerOptions } {
  if (tls === undefined) return { http };
  const https = {
    ...http,
    handshakeTimeout: HANDSHAKE_MS,
    requestCert: clientCertificateRule(tls) !== undefined,
    // An optional certificate is checked after the handshake.
    rejectUnauthorized: clientCertificateRule(tls) === 'required',
  };
  return { https } as unknown as { readonly http: ServerOptions };
}

/** The TLS settings of a listener. Undefined: it speaks plain HTTP. */
export function tlsOf(listen: Listen | undefined): ListenerTls | undefined {
  return listen?.kind === 'tcp' ? listen.tls : undefined;
}

export type ListenerCertificates = ReturnType<typeof createListenerCertificates>;

type Svids = Pick<WorkloadApi, 'svid' | 'bundles'>;

/** @param svids for listeners with `tls: spiffe` */
export function createListenerCertificates(logger: Pick<Logger, 'error' | 'warn'>, svids?: Svids) {
  const served: { readonly name: string; readonly apply: () => Promise<void>; refused: number }[] = [];
  let rereading = Promise.resolve();

  async function reread(): Promise<void> {
    for (const { name, apply } of served) {
      await apply().catch((error: unknown) => {
        logger.error({ err: error }, `${name}: TLS files are invalid; keeping the previous ones`);
      });
    }
  }

  return {
    /**
     * Gives a server its certificate, before it listens.
     * @param name the config key of the listener
     * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE where a file cannot be read, or is invalid
     */
    async serve(server: HttpsServer, tls: ListenerTls, name: string): Promise<void> {
      const trust: ClientTrust = { issuers: [] };
      const apply = async (): Promise<void> => {
        const { context, issuers } = tls === 'spiffe' ? ofSvid(svids) : await ofFiles(tls, name);
        server.setSecureContext(context);
        if (!isSame(issuers, trust.issuers)) trust.issuers = issuers;
      };
      await apply();
      const listener = { name, apply, refused: 0 };
      served.push(listener);
      const refuse = (why: string): void => {
        listener.refused += 1;
        logger.warn({}, `${name}: refused a TLS client: ${why}`);
      };
      server.on('tlsClientError', (error: NodeJS.ErrnoException, secure) => {
        const why = whyFailed(error, secure);
        if (why !== undefined) refuse(why);
      });
      followConnections(server, (secure) => {
        const why =
          whyRefused(secure, trust) ?? (tls === 'spiffe' && !svids?.svid() ? 'the own SVID is expired' : undefined);
        if (why !== undefined) refuse(why);
        return why === undefined;
      });
    },
    /**
     * Reads all files again, and takes the current SVID, for the next connections. A listener keeps its certificate where that fails.
     * A reading waits for the previous one, which would otherwise undo it.
     */
    reread(): Promise<void> {
      rereading = rereading.then(reread);
      return rereading;
    },
    /** The number of TLS clients that each listener has refused. */
    refusals: () => served.map(({ name, refused }) => ({ listener: name, refused })),
  };
}

/** TLS with client certificates. A resumed session would skip their check, and another handshake could bring another certificate. */
function withClients(ca: string | string[]): SecureContextOptions {
  const { SSL_OP_NO_TICKET, SSL_OP_NO_RENEGOTIATION } = process.getBuiltinModule('node:constants');
  return { ca, secureOptions: SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION };
}

/** The server refuses every handshake without an SVID. */
function ofSvid(svids: Svids | undefined): { readonly context: SecureContextOptions; readonly issuers: Issuers } {
  const [svid, bundles] = [svids?.svid(), [...(svids?.bundles() ?? [])]];
  const issuers = new Map(bundles.map(([domain, pems]) => [domain, pems.map((pem) => new X509Certificate(pem))]));
  if (svid === undefined) return { context: {}, issuers };
  const { certificate: cert, privateKey } = svid;
  // The issuers of each trust domain are distinguished after the handshake.
  const trusted = withClients(bundles.flatMap(([, pems]) => pems));
  return { context: { cert, key: privateKey.reveal(), minVersion: 'TLSv1.2', ...trusted }, issuers };
}

/** @param name of the listener @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE */
export async function readFiles({ certificate, privateKey, clientCa }: ListenerFiles, name: string) {
  const read = async (file: string, what: string) => (await readCredential({ file }, `${what} of ${name}`)).reveal();
  return {
    cert: await read(certificate, 'certificate'),
    key: await read(privateKey, 'private key'),
    ca: clientCa === undefined ? undefined : await read(clientCa, 'client CA'),
  };
}

async function ofFiles(files: ListenerFiles, name: string) {
  const { cert, key, ca } = await readFiles(files, name);
  const { createSecureContext } = process.getBuiltinModule('node:tls');
  const context: SecureContextOptions = {
    cert,
    key,
    minVersion: 'TLSv1.2',
    ...(ca !== undefined && withClients(ca)),
  };
  try {
    createSecureContext(context);
    return { context, issuers: ca === undefined ? [] : certificatesIn(ca) };
  } catch (cause) {
    const rule = 'each must be PEM, and the key must belong to the certificate: cambist doctor says which is wrong';
    throw unavailable(`invalid TLS files of ${name}: ${rule}`, cause);
  }
}

export function splitCertificates(pem: string): string[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((one) =>
    one.replaceAll('\r', ''),
  );
}

function certificatesIn(pem: string): X509Certificate[] {
  const found = splitCertificates(pem);
  if (found.length === 0) throw new Error('the client CA has no certificate');
  return found.map((each) => new X509Certificate(each));
}

/** Bundles count as another list at each change, which makes the connections verify their clients again. */
function isSame(one: Issuers, other: Issuers): boolean {
  if (!('every' in one && 'every' in other)) return false;
  return one.length === other.length && one.every(({ raw }, index) => other[index]?.raw.equals(raw) === true);
}

const HANDSHAKES: Readonly<Record<string, string>> = {
  ERR_SSL_HTTP_REQUEST: 'it speaks plain HTTP: let it call an https:// URL',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'it sent no certificate, and the listener requires one',
};

/** @returns why a handshake failed. Undefined where the client left */
function whyFailed({ code = '' }: NodeJS.ErrnoException, { authorizationError }: TLSSocket): string | undefined {
  // Where Node refuses the certificate of a client, the error says that the connection closed.
  if (authorizationError) return notAccepted(authorizationError);
  return HANDSHAKES[code] ?? (/^ERR_(?:SSL|TLS)_/.test(code) ? `the handshake failed: ${code}` : undefined);
}

function notAccepted(error: unknown): string {
  return `its certificate is not accepted: ${error}`;
}

/** Notes the client of a connection. @returns why its certificate is invalid */
function whyRefused(secure: TLSSocket, trust: ClientTrust): string | undefined {
  // With `optional`, Node leaves this to us.
  if (secure.getPeerX509Certificate() !== undefined && !secure.authorized)
    return notAccepted(secure.authorizationError);
  return setClient(secure, trust) ? undefined : 'no trusted issuer vouches for its certificate';
}

/** Notes which connections of a server have finished their handshake, and closes those that are not admitted. */
function followConnections(server: HttpsServer, admits: (secure: TLSSocket) => boolean): void {
  server.on('connection', (connection: Socket) => handshaking.add(connection));
  // Node has no public name for the connection below. Without it, none is admitted.
  server.prependListener('secureConnection', (secure: TLSSocket & { readonly _parent?: Socket | null }) => {
    const connection = secure._parent;
    if (connection === undefined) secure.destroy();
    // Otherwise another listener handed it over, or it comes from within a CONNECT.
    if (!connection || !handshaking.has(connection)) return;
    handshaking.delete(connection);
    secured.set(connection, secure);
    if (!admits(secure)) secure.destroy();
  });
}
