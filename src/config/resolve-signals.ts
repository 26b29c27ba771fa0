import { type Listen, readFreeListen } from './addresses.ts';
import type { Servers } from './authorization-server.ts';
import type { ConfigNode } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import type { Signals, Transmitter } from './optional-sections.ts';
import { readDuration } from './quantities.ts';
import { checkKeysUrl, serverNamed, serverOf } from './resolve-verification.ts';
import type { Loose } from './schema.ts';
import type { SignalsFile } from './schema-signals.ts';
import type { Sources } from './sources.ts';
import { readScope, toList } from './targets.ts';
import { checkUrl } from './urls.ts';

type TransmitterFile = NonNullable<NonNullable<Loose<SignalsFile>['transmitters']>[string]>;

/** Reads `signals`. Undefined where it is missing or has an error, which is reported to `node`. */
export function resolveSignals(
  written: Loose<SignalsFile> | undefined,
  listeners: Readonly<Record<string, Listen | undefined>>,
  servers: Servers,
  node: ConfigNode,
  sources: Sources,
): Signals | undefined {
  if (written === undefined) return undefined;
  const listen = readFreeListen(written.listen, listeners, node.at('listen'));
  const rememberMs = readDuration(written.remember ?? DEFAULTS.remember, node.at('remember'), {
    min: '1m',
    max: '720h',
  });
  const entries = Object.entries(written.transmitters ?? {});
  const transmitters = entries.flatMap(([name, transmitter]) =>
    transmitter === undefined
      ? []
      : (resolveTransmitter(name, transmitter, servers, node.at('transmitters', name), sources) ?? []),
  );
  if (entries.length === 0 && !node.at('transmitters').broken) {
    node.error('has no transmitter: name one under transmitters, or remove signals');
  }
  if (written.listen === undefined && transmitters.some(needsListener)) {
    node.error('missing key "listen": a transmitter sends to cambist, so set the address for it');
  }
  if (written.listen !== undefined && transmitters.length > 0 && !transmitters.some(needsListener)) {
    node.at('listen').warn('has no effect: no transmitter sends to cambist: remove it', 'key');
  }
  return { listen, rememberMs, transmitters };
}

function needsListener({ delivery, backchannelLogout }: Transmitter): boolean {
  return delivery === 'push' || backchannelLogout;
}

function resolveTransmitter(
  name: string,
  written: TransmitterFile,
  servers: Servers,
  node: ConfigNode,
  sources: Sources,
): Transmitter | undefined {
  const { issuer, jwks_uri: jwksUri, delivery, authorization, poll_endpoint: pollEndpoint } = written;
  const audience = toList(written.audience);
  if (issuer === undefined || audience === undefined) return undefined;
  if (audience.length === 0) node.at('audience').error('must not be empty: name the audience of the events');
  checkKeysUrl({ issuer, jwksUri, allowInsecureHttp: false }, node);
  const backchannelLogout = written.backchannel_logout ?? false;
  if (delivery === undefined && !backchannelLogout) {
    node.error('never gets an event: set delivery for Shared Signals, or backchannel_logout: true');
  }
  if (authorization !== undefined && delivery === undefined) {
    node.at('authorization').warn('has no effect without delivery: a logout token is its own proof: remove it', 'key');
  }
  checkRequests(written, node);
  checkUrl(pollEndpoint, node.at('poll_endpoint'), { allowInsecureHttp: false, allowQuery: true });
  return {
    name,
    issuer,
    audience,
    jwksUri,
    ca: serverOf(issuer, servers)?.tls?.ca,
    delivery,
    authorization: sources.credential(authorization, node.at('authorization')),
    client: resolveClient(written, servers, node),
    pollEndpoint,
    pollIntervalMs: readDuration(written.poll_interval ?? DEFAULTS.pollInterval, node.at('poll_interval'), {
      min: '250ms',
      max: '10m',
    }),
    backchannelLogout,
  };
}

/** Reports keys that contradict each other, or have no effect, in the requests that cambist sends to a transmitter. */
function checkRequests(written: TransmitterFile, node: ConfigNode): void {
  const { delivery, authorization, authorization_server: server, scope } = written;
  if (delivery === 'poll' && authorization === undefined && server === undefined && !node.broken) {
    node.error(
      'polls without a credential: set authorization to a file, or authorization_server to the server of a client',
    );
  }
  if (delivery === 'poll' && authorization !== undefined && server !== undefined) {
    node.at('authorization').error('is a second credential beside authorization_server: remove one of them', 'key');
  }
  if (delivery === 'poll' && written.poll_endpoint === undefined) {
    node.error('missing key "poll_endpoint": set it to the "endpoint_url" of the stream at the transmitter');
  }
  for (const key of ['authorization_server', 'scope'] as const) {
    if (written[key] === undefined || delivery === 'poll') continue;
    node.at(key).error('has no meaning without polls, because cambist sends no other requests: remove it', 'key');
  }
  if (scope !== undefined && server === undefined && delivery === 'poll') {
    node.at('scope').warn('has no effect without authorization_server: remove it', 'key');
  }
  for (const key of ['poll_endpoint', 'poll_interval'] as const) {
    if (written[key] !== undefined && delivery !== 'poll') {
      node.at(key).warn('has no effect without delivery: poll: remove it', 'key');
    }
  }
}

function resolveClient(
  { authorization_server: name, scope }: TransmitterFile,
  servers: Servers,
  node: ConfigNode,
): Transmitter['client'] {
  if (name === undefined) return undefined;
  const authorizationServer = serverNamed(name, servers, node);
  if (authorizationServer === undefined) return undefined;
  const { clientAuth, dpop } = authorizationServer;
  if (clientAuth.method === 'none') {
    node.at('authorization_server').error(`"${name}" has no client_auth, which client credentials need: set it`);
  }
  if (dpop) node.at('authorization_server').error(`"${name}" has dpop, which transmitters do not know: name another`);
  return { authorizationServer, scope: readScope(scope, node.at('scope')) || undefined };
}
