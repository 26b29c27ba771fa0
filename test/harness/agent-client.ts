import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import {
  type CallToolResult,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import type { SignInProvider } from './refusing-setup.ts';

/** The operations of an agent on a server, the same for every SDK. */
export interface AgentClient {
  /** The current session. Undefined if the revision has no sessions. */
  sessionId(): string | undefined;
  listTools(): Promise<string[]>;
  /** Returns the text of the tool's result. */
  call(name: string, args?: Record<string, unknown>, options?: CallHooks): Promise<string>;
  /** Settles when the server accepted the subscription. */
  watch(uri: string): Promise<void>;
  /** The URIs of the resources that changed, by the server's notifications. */
  updated: string[];
  /** Also closes the session, if there is one. */
  close(): Promise<void>;
}

interface CallHooks {
  onProgress?: (progress: number) => void;
  signal?: AbortSignal;
}

/** The reply of these clients' users and models to every question. */
export const REPLY = 'forty-two';

export type AgentFetch = (url: string | URL, init?: RequestInit) => Promise<Response>;

/** An SDK in one of its modes. */
export interface AgentSdk {
  name: string;
  /** False for revisions without sessions. */
  sessions: boolean;
  /** True if the SDK may deliver a result before earlier progress notifications. */
  progressMayLag?: boolean;
  connect(url: string, token: string, fetch?: AgentFetch): Promise<AgentClient>;
}

interface TypeScriptSdk extends AgentSdk {
  /** @param auth the token of the user, or a provider that signs the user in */
  connect(url: string, auth: string | SignInProvider, fetch?: AgentFetch): Promise<AgentClient>;
  /** Redeems the code of the authorization server, after a user signed in. */
  finishSignIn(url: string, provider: SignInProvider): Promise<void>;
}

const IDENTITY = { name: 'agent', version: '1.0.0' };
const CAPABILITIES = { sampling: {}, elicitation: {} };
const SAMPLE = { role: 'assistant', model: 'none', content: { type: 'text', text: REPLY } } as const;

export const SDK_V1: TypeScriptSdk = {
  name: 'TypeScript SDK v1',
  sessions: true,
  finishSignIn: (url, provider) =>
    new TransportV1(new URL(url), authOptions(provider)).finishAuth(provider.redirected.get('code') ?? ''),
  async connect(url, auth, fetch) {
    const client = new ClientV1(IDENTITY, { capabilities: CAPABILITIES });
    const updated: string[] = [];
    client.setRequestHandler(CreateMessageRequestSchema, () => SAMPLE);
    client.setRequestHandler(ElicitRequestSchema, ({ params }) => ({ action: 'accept', content: fill(params) }));
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void updated.push(params.uri));
    const transport = new TransportV1(new URL(url), { ...authOptions(auth), ...(fetch && { fetch }) });
    // The SDK's class does not match its interface under exactOptionalPropertyTypes.
    await client.connect(transport as Transport);
    return {
      updated,
      ...commonPart(client, transport),
      call: async (name, args = {}, hooks) => {
        const result = await client.callTool({ name, arguments: args }, undefined, hooksOf(hooks));
        return textOf((result as CallToolResult).content);
      },
      watch: async (uri) => {
        await client.subscribeResource({ uri });
      },
    };
  },
};

/** The SDK's default: `initialize` and sessions. */
const SDK_V2_LEGACY = sdkV2('TypeScript SDK v2, legacy', 'legacy');
/** Negotiates the revision, which is 2026-07-28 with our servers. */
export const SDK_V2_NEGOTIATED = sdkV2('TypeScript SDK v2, negotiated', 'auto');

/** The TypeScript SDKs, with every protocol that they support. */
export const SDKS: readonly TypeScriptSdk[] = [SDK_V1, SDK_V2_LEGACY, SDK_V2_NEGOTIATED];

function sdkV2(sdkName: string, mode: 'legacy' | 'auto'): TypeScriptSdk {
  return {
    name: sdkName,
    sessions: mode === 'legacy',
    finishSignIn: (url, provider) =>
      new StreamableHTTPClientTransport(new URL(url), authOptions(provider)).finishAuth(provider.redirected),
    async connect(url, auth, fetch) {
      const client = new Client(IDENTITY, { capabilities: CAPABILITIES, versionNegotiation: { mode } });
      const updated: string[] = [];
      client.setRequestHandler('sampling/createMessage', () => SAMPLE);
      client.setRequestHandler('elicitation/create', ({ params }) => ({ action: 'accept', content: fill(params) }));
      client.setNotificationHandler('notifications/resources/updated', ({ params }) => void updated.push(params.uri));
      const options = { ...authOptions(auth), ...(fetch && { fetch }) };
      const transport = new StreamableHTTPClientTransport(new URL(url), options);
      await client.connect(transport);
      return {
        updated,
        ...commonPart(client, transport),
        call: async (name, args = {}, hooks) =>
          textOf((await client.callTool({ name, arguments: args }, hooksOf(hooks))).content),
        watch: async (uri) => {
          if (mode === 'legacy') await client.subscribeResource({ uri });
          else await client.listen({ resourceSubscriptions: [uri] });
        },
      };
    },
  };
}

function authOptions(auth: string | SignInProvider) {
  if (typeof auth !== 'string') return { authProvider: auth };
  return { requestInit: { headers: { authorization: `Bearer ${auth}` } } };
}

function commonPart(client: Client | ClientV1, transport: StreamableHTTPClientTransport | TransportV1) {
  return {
    sessionId: () => transport.sessionId,
    listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
    close: async () => {
      // A server that lost the session responds with 404.
      await transport.terminateSession().catch(() => {});
      await client.close();
    },
  };
}

function hooksOf({ onProgress, signal }: CallHooks = {}) {
  return {
    ...(signal !== undefined && { signal }),
    ...(onProgress !== undefined && { onprogress: ({ progress }: { progress: number }) => onProgress(progress) }),
  };
}

function textOf(content: readonly { type: string }[]): string {
  return content.map((block) => ('text' in block ? String(block.text) : '')).join('');
}

/** Fills in the form of an elicitation. */
function fill(params: object): Record<string, string> {
  const { properties = {} } = 'requestedSchema' in params ? (params.requestedSchema as { properties?: object }) : {};
  return Object.fromEntries(Object.keys(properties).map((property) => [property, REPLY]));
}
