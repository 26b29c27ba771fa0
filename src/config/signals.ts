import type { ConfigNode } from '../documents/config-node.ts';
import { MIN_KEY_LENGTH } from '../secrets/credential.ts';
import type { AuthorizationServer, ServerScope } from './authorization-server.ts';
import {
  mapKey,
  optionalSection,
  type Place,
  required,
  section,
  type ValueOf,
  type Values,
  type Written,
  withFallback,
} from './key.ts';
import { choice, credentialSource, duration, fileSource, flag, serverName, text } from './kinds.ts';
import { address } from './listen.ts';
import { readScope } from './targets.ts';
import { checkUrl } from './urls.ts';
import { audiences, checkKeysUrl, serverOf } from './verification.ts';

const transmitterKeys = {
  issuer: required(text('Expected `iss` of its events, and of the tokens that they are about.', { form: 'URL' })),
  audience: required(audiences('The `aud` of its events must contain one of these.')),
  jwks_uri: text("URL of its keys. By default, from the issuer's metadata.", {
    form: 'URL',
    without: 'from the metadata',
  }),
  delivery: choice(
    ['push', 'poll'],
    'How Shared Signals arrive. `push`: the transmitter sends each to `/events/NAME` (RFC 8935). `poll`: cambist asks for them (RFC 8936).',
  ),
  authorization: fileSource(
    'File of the value of the `Authorization` header that the transmitter sends with each event, or that cambist sends with each poll.',
  ),
  authorization_server: serverName(
    "Server that issues the token of cambist's requests to the transmitter, by client credentials. In place of `authorization`, for polls.",
  ),
  scope: text('Scopes of that token, with a space between them.', { examples: ['ssf.read ssf.manage'] }),
  poll_endpoint: text('URL to poll: the `endpoint_url` of the stream at the transmitter.', { form: 'URL' }),
  poll_interval: duration(
    'Pause between polls at a transmitter that does not delay its responses until there is an event, from 250ms to 10m.',
    { default: '500ms', min: '250ms', max: '10m' },
  ),
  backchannel_logout: flag('Accept OpenID Connect back-channel logouts at `/logout/NAME`.', { default: false }),
};

type WrittenTransmitter = Written<typeof transmitterKeys>;

const FOR_POLLS = ['authorization_server', 'scope', 'poll_endpoint', 'poll_interval'] as const;

/** Reports the keys that the delivery lacks, or has no use for. */
function checkDelivery(written: WrittenTransmitter, node: ConfigNode): void {
  const { delivery, authorization, authorization_server: server } = written;
  const unused = { push: FOR_POLLS, poll: [], none: [...FOR_POLLS, 'authorization'] as const }[delivery ?? 'none'];
  for (const key of unused) {
    if (written[key] === undefined) continue;
    node.at(key).error(`has no meaning ${delivery === undefined ? 'without delivery' : 'for push'}: remove it`, 'key');
  }
  if (delivery !== 'poll') return;
  if ((authorization === undefined) === (server === undefined) && !node.broken) {
    node.error('needs one credential for polls: set either authorization or authorization_server');
  }
  if (written.poll_endpoint === undefined) {
    node.error('missing key "poll_endpoint": set it to the "endpoint_url" of the stream at the transmitter');
  }
}

type TransmitterValues = Values<typeof transmitterKeys>;

/** The client whose tokens requests of cambist to the transmitter have. */
interface TransmitterClient {
  readonly authorizationServer: AuthorizationServer;
  readonly scope: string | undefined;
}

function clientOf(
  { authorizationServer: name, scope }: TransmitterValues,
  { node, scope: { servers } }: Place<ServerScope>,
): TransmitterClient | undefined {
  if (name === undefined) return undefined;
  const authorizationServer = servers.get(name);
  if (authorizationServer === undefined) return undefined;
  const { clientAuth, dpop } = authorizationServer;
  if (clientAuth.method === 'none') {
    node.at('authorization_server').error(`"${name}" has no client_auth, which client credentials need: set it`);
  }
  if (dpop) node.at('authorization_server').error(`"${name}" has dpop, which transmitters do not know: name another`);
  return {
    authorizationServer,
    scope: scope === undefined ? undefined : readScope(scope, node.at('scope')) || undefined,
  };
}

/** An issuer that says whose tokens are revoked. */
export interface Transmitter extends Omit<TransmitterValues, 'authorizationServer' | 'scope'> {
  /** Its key in the file, and its label in metrics. */
  readonly name: string;
  /** PEM file of the CA for metadata and keys: the one of the authorization server with the same issuer. */
  readonly ca: string | undefined;
  readonly client: TransmitterClient | undefined;
}

const transmitter = section('An issuer that says whose tokens are revoked.', transmitterKeys, {
  finish(values, place: Place<ServerScope>, written): Omit<Transmitter, 'name'> {
    const { issuer, jwksUri, delivery, pollEndpoint, backchannelLogout } = values;
    const { node, scope } = place;
    checkKeysUrl({ issuer, jwksUri, allowInsecureHttp: false }, node);
    if (delivery === undefined && !backchannelLogout) {
      node.error('never gets an event: set delivery for Shared Signals, or backchannel_logout: true');
    }
    checkDelivery(written, node);
    checkUrl(pollEndpoint, node.at('poll_endpoint'), { allowInsecureHttp: false, allowQuery: true });
    const { authorizationServer: _, scope: __, ...others } = values;
    return { ...others, ca: serverOf(issuer, scope.servers)?.tls?.ca, client: clientOf(values, place) };
  },
});

const revoke = optionalSection('Revocation by an operator, with `cambist revoke`.', {
  secret: required(
    credentialSource(
      'Key of at least 32 characters, which `cambist revoke` reads too. The agent must not be able to read it.',
      { page: 'signals.md#by-an-operator' },
      MIN_KEY_LENGTH,
    ),
  ),
});

/** Revocation by an operator. */
export type Revoke = NonNullable<ValueOf<typeof revoke>>;

export const signals = optionalSection(
  'Revocation: Shared Signals and back-channel logout.',
  {
    listen: address(
      'Address that transmitters connect to: `host:port` or `unix:/path`. Required for push and back-channel logout.',
      { examples: ['0.0.0.0:8190'] },
    ),
    remember: duration('How long a revocation is kept, from 1m to 720h: at least the longest lifetime of a token.', {
      default: '24h',
      min: '1m',
      max: '720h',
    }),
    transmitters: withFallback(
      mapKey(
        /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
        'the name of a transmitter must consist of lower-case letters, digits and hyphens, at most 63',
        'Transmitters by name. Their URLs, metrics and logs use the name.',
        transmitter,
      ),
      {},
    ),
    revoke,
  },
  {
    restart: 'change',
    check({ transmitters = [] }, { node }, written) {
      const isEmpty = Object.keys(written.transmitters ?? {}).length === 0 && written.revoke === undefined;
      if (isEmpty && !node.at('transmitters').broken && !node.at('revoke').broken) {
        node.error('has no transmitter: name one under transmitters, or remove signals');
      }
      const needsListener = transmitters.some((one) => one.delivery === 'push' || one.backchannelLogout);
      if (written.listen === undefined && needsListener) {
        node.error('missing key "listen": a transmitter sends to cambist, so set the address for it');
      }
      if (written.listen !== undefined && transmitters.length > 0 && !needsListener) {
        node.at('listen').warn('has no effect: no transmitter sends to cambist: remove it', 'key');
      }
    },
  },
);

/** Revocation by Shared Signals and back-channel logout. */
export type Signals = NonNullable<ValueOf<typeof signals>>;
