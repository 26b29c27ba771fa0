import { X509Certificate } from 'node:crypto';
import { type RequestOptions, request } from 'node:http';
import { request as requestTls } from 'node:https';
import { json } from 'node:stream/consumers';
import type { TLSSocket } from 'node:tls';
import type { Listen } from '../config/addresses.ts';
import { reachableHost } from '../listeners/this-machine.ts';
import { tlsOf } from '../listeners/tls.ts';
import { readCredential } from '../secrets/credential.ts';

const TIMEOUT_MS = 5000;
/** Several times the size of the largest response. */
const MAX_BYTES = 16 * 1024 * 1024;

interface AdminRequest extends Pick<RequestOptions, 'method' | 'headers'> {
  readonly path: string;
  readonly body?: string;
}

/**
 * Sends a request to the admin listener of a running cambist. Another program may listen there, so a request has no secret.
 * @returns status and JSON of the response
 * @throws {Error} if the response is missing, too large or not JSON
 */
export async function requestAdmin(admin: Listen, { body, headers, ...wanted }: AdminRequest) {
  if (admin.kind === 'tcp' && admin.port === 0)
    throw new Error('admin has port 0: set the port in the config, or add --admin');
  const name = nameOfListen(admin);
  const target =
    admin.kind === 'unix' ? { socketPath: admin.path } : { host: reachableHost(admin.host), port: admin.port };
  const certificate = await configuredCertificate(admin);
  const send = certificate === undefined ? request : requestTls;
  return new Promise<{ readonly status: number; readonly body: unknown }>((resolve, reject) => {
    const options = {
      ...target,
      ...wanted,
      // The listener may have a name that it does not accept as the Host of these requests.
      headers: { ...headers, host: 'localhost' },
      agent: false,
      timeout: TIMEOUT_MS,
      // The certificate has names for clients in the network, and is compared with that of the config.
      rejectUnauthorized: false,
    };
    const sent = send(options, (response) => {
      if (certificate !== undefined && !presents(response.socket as TLSSocket, certificate)) {
        reject(new Error(`the listener at ${name} has another certificate than the file in admin.tls`));
        response.destroy();
        return;
      }
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size <= MAX_BYTES) return;
        reject(otherServer(admin));
        response.destroy();
      });
      json(response).then(
        (content) => resolve({ status: response.statusCode ?? 0, body: content }),
        // The message of a SyntaxError quotes the response, which could control the terminal.
        (error) => reject(error instanceof SyntaxError ? otherServer(admin) : error),
      );
    });
    sent.once('timeout', () => sent.destroy(new Error('no response in time')));
    sent.once('error', ({ message }) =>
      reject(
        new Error(`cannot reach the admin listener at ${name}: ${message}: start cambist, or correct the address`),
      ),
    );
    sent.end(body);
  });
}

/** The certificate of the listener. Undefined: it speaks plain HTTP. */
async function configuredCertificate(admin: Listen): Promise<X509Certificate | undefined> {
  const tls = tlsOf(admin);
  const file = tls === 'spiffe' ? undefined : tls?.certificate;
  return file === undefined
    ? undefined
    : new X509Certificate((await readCredential({ file }, 'certificate of admin')).reveal());
}

function presents(socket: TLSSocket, certificate: X509Certificate): boolean {
  return socket.getPeerX509Certificate()?.raw.equals(certificate.raw) === true;
}

export function nameOfListen(listen: Listen): string {
  return listen.kind === 'unix' ? `unix:${listen.path}` : `${listen.host}:${listen.port}`;
}

export function otherServer(admin: Listen): Error {
  return new Error(`the listener at ${nameOfListen(admin)} is not the admin listener of cambist: check the address`);
}
