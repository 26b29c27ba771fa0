import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import {
  acceptedContent,
  type CallToolResult,
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  createRequestStateCodec,
  type InputRequests,
  inputRequired,
  type McpServer,
  type ServerContext,
  type ToolCallback,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import { IMAGE, text } from './content.ts';

const RECONNECT_MS = 100;

export function registerConversingTools(server: McpServer): void {
  server.registerTool(
    'test_sampling',
    { description: 'Requests sampling by the client.', inputSchema: z.object({ prompt: z.string() }) },
    async ({ prompt }, { mcpReq }) => {
      const messages = [{ role: 'user' as const, content: { type: 'text' as const, text: prompt } }];
      const { content } = await mcpReq.requestSampling({ messages, maxTokens: 100 });
      return text(`LLM response: ${'text' in content ? content.text : JSON.stringify(content)}`);
    },
  );
  server.registerTool(
    'test_elicitation',
    { description: 'Requests input from the user.', inputSchema: z.object({ message: z.string() }) },
    ({ message }, context) =>
      elicit(context, message, { response: { type: 'string', description: "User's response" } }, ['response']),
  );
  server.registerTool(
    'test_elicitation_sep1034_defaults',
    { description: 'Requests input with defaults.' },
    (context) =>
      elicit(context, 'Please review and update the form fields with defaults', {
        name: { type: 'string', default: 'John Doe' },
        age: { type: 'integer', default: 30 },
        score: { type: 'number', default: 95.5 },
        status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
        verified: { type: 'boolean', default: true },
      }),
  );
  server.registerTool('test_elicitation_sep1330_enums', { description: 'Requests choices.' }, (context) =>
    elicit(context, 'Please select options from the enum fields', {
      untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
      titledSingle: { type: 'string', oneOf: titled('Option') },
      legacyEnum: {
        type: 'string',
        enum: ['opt1', 'opt2', 'opt3'],
        enumNames: ['Option One', 'Option Two', 'Option Three'],
      },
      untitledMulti: {
        type: 'array',
        minItems: 1,
        maxItems: 3,
        items: { type: 'string', enum: ['option1', 'option2', 'option3'] },
      },
      titledMulti: { type: 'array', minItems: 1, maxItems: 3, items: { anyOf: titled('Choice') } },
    }),
  );
  server.registerTool(
    'test_reconnection',
    { description: 'Closes its stream before it returns.' },
    async ({ http }) => {
      http?.closeSSE?.();
      await delay(RECONNECT_MS);
      return text('returned after the stream was closed');
    },
  );
}

function titled(what: string): { const: string; title: string }[] {
  return ['First', 'Second', 'Third'].map((title, index) => ({
    const: `value${index + 1}`,
    title: `${title} ${what}`,
  }));
}

async function elicit(
  { mcpReq }: ServerContext,
  message: string,
  properties: Record<string, unknown>,
  required: string[] = [],
): Promise<CallToolResult> {
  const params = { message, requestedSchema: { type: 'object', properties, required } };
  const { action, content } = await mcpReq.send({ method: 'elicitation/create', params });
  return text(`User response: action=${action}, content=${JSON.stringify(content ?? {})}`);
}

/** The state of a call between its rounds. The client carries it. */
interface CallState {
  round: number;
  name?: string;
}

export const stateCodec = createRequestStateCodec<CallState>({ key: randomBytes(32) });

const askName = () => ask('What is your name?', 'name');
const askModel = (question: string) =>
  inputRequired.createMessage({
    messages: [{ role: 'user', content: { type: 'text', text: question } }],
    maxTokens: 50,
  });

/** A question with one field. */
function ask(message: string, property: string, type: 'string' | 'boolean' = 'string') {
  const properties = { [property]: type === 'string' ? { type } : { type } };
  return inputRequired.elicit({ message, requestedSchema: { type: 'object', properties, required: [property] } });
}

/** The user's reply to a question, in a repeated call. */
function replyTo({ mcpReq }: ServerContext, question: string): Record<string, unknown> | undefined {
  return acceptedContent<Record<string, unknown>>(mcpReq.inputResponses, question);
}

/** Tools that return a question and continue when the call is repeated with the reply, as in revision 2026-07-28. */
export function registerInputTools(server: McpServer): void {
  const register = (name: string, call: ToolCallback) =>
    server.registerTool(
      `test_input_required_result_${name}`,
      { description: 'Requests input before it returns.' },
      call,
    );

  register('elicitation', (context) => {
    const name = replyTo(context, 'user_name')?.name;
    return typeof name === 'string'
      ? text(`Hello, ${name}!`)
      : inputRequired({ inputRequests: { user_name: askName() } });
  });
  register('sampling', ({ mcpReq }) => {
    const reply = textOf(mcpReq.inputResponses?.capital_question);
    if (reply !== undefined) return text(`Sampling response: ${reply}`);
    return inputRequired({ inputRequests: { capital_question: askModel('What is the capital of France?') } });
  });
  register('list_roots', ({ mcpReq }) => {
    const roots = rootsOf(mcpReq.inputResponses?.client_roots);
    if (roots !== undefined) return text(`${roots.length} roots: ${JSON.stringify(roots)}`);
    return inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } });
  });
  for (const [name, confirmation] of [
    ['request_state', 'state-ok'],
    ['tampered_state', 'integrity-ok'],
  ] as const) {
    register(name, async (context) => {
      const isConfirmed = replyTo(context, 'confirm') !== undefined && context.mcpReq.requestState() !== undefined;
      if (isConfirmed) return text(confirmation);
      const inputRequests = { confirm: ask('Please confirm', 'ok', 'boolean') };
      return inputRequired({ inputRequests, requestState: await stateCodec.mint({ round: 1 }) });
    });
  }
  register('multiple_inputs', async (context) => {
    const { inputResponses: given } = context.mcpReq;
    const [name, greeting] = [replyTo(context, 'user_name')?.name, textOf(given?.greeting)];
    const roots = rootsOf(given?.client_roots);
    if (name !== undefined && greeting !== undefined && roots !== undefined) {
      return text(`${greeting} ${name}, with ${roots.length} roots`);
    }
    const inputRequests = {
      user_name: askName(),
      greeting: askModel('Greet'),
      client_roots: inputRequired.listRoots(),
    };
    return inputRequired({ inputRequests, requestState: await stateCodec.mint({ round: 1 }) });
  });
  register('multi_round', async (context) => {
    const { round, name } = context.mcpReq.requestState<CallState>() ?? { round: 0 };
    if (round === 0) {
      const requestState = await stateCodec.mint({ round: 1 });
      return inputRequired({ inputRequests: { step1: askName() }, requestState });
    }
    if (round === 1) {
      const requestState = await stateCodec.mint({ round: 2, name: String(replyTo(context, 'step1')?.name) });
      return inputRequired({ inputRequests: { step2: ask('Which colour?', 'color') }, requestState });
    }
    return text(`${name} likes ${replyTo(context, 'step2')?.color}`);
  });
  register('capabilities', ({ mcpReq }) => {
    if (mcpReq.inputResponses !== undefined) return text('all inputs received');
    const envelope: Record<string, unknown> = { ...mcpReq.envelope };
    const declared = envelope[CLIENT_CAPABILITIES_META_KEY] as ClientCapabilities | undefined;
    const inputRequests: InputRequests = {
      ...(declared?.elicitation !== undefined && { user_name: askName() }),
      ...(declared?.sampling !== undefined && { greeting: askModel('Greet') }),
      ...(declared?.roots !== undefined && { client_roots: inputRequired.listRoots() }),
    };
    return Object.keys(inputRequests).length === 0
      ? text('no capability to request')
      : inputRequired({ inputRequests });
  });
  server.registerTool('test_missing_capability', { description: 'Needs sampling.' }, ({ mcpReq }) =>
    mcpReq.inputResponses?.answer === undefined
      ? inputRequired({ inputRequests: { answer: askModel('Say pong') } })
      : text('sampled'),
  );
}

function textOf(response: unknown): string | undefined {
  return (response as { content?: { text?: string } } | undefined)?.content?.text;
}

function rootsOf(response: unknown): unknown[] | undefined {
  return (response as { roots?: unknown[] } | undefined)?.roots;
}

type Message = ReturnType<typeof say>;

function say(text: string) {
  return { role: 'user' as const, content: { type: 'text' as const, text } };
}

export function registerPrompts(server: McpServer): void {
  const messages = (...all: Message[]) => ({ messages: all });
  server.registerPrompt('test_simple_prompt', { description: 'Has no arguments.' }, () =>
    messages(say('This is a simple prompt for testing.')),
  );
  server.registerPrompt(
    'test_prompt_with_arguments',
    { description: 'Has two arguments.', argsSchema: z.object({ arg1: z.string(), arg2: z.string() }) },
    ({ arg1, arg2 }) => messages(say(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  );
  server.registerPrompt(
    'test_prompt_with_embedded_resource',
    { description: 'Contains a resource.', argsSchema: z.object({ resourceUri: z.string() }) },
    ({ resourceUri: uri }) => ({
      messages: [
        {
          role: 'user',
          content: {
            type: 'resource',
            resource: { uri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' },
          },
        },
        say('Please process the embedded resource above.'),
      ],
    }),
  );
  server.registerPrompt('test_prompt_with_image', { description: 'Contains an image.' }, () => ({
    messages: [
      { role: 'user', content: { type: 'image', data: IMAGE, mimeType: 'image/png' } },
      say('Please analyze the image above.'),
    ],
  }));
  server.registerPrompt(
    'test_input_required_result_prompt',
    { description: 'Requests input before it returns.' },
    (given) => {
      // Without a schema of arguments, the first parameter is the context. The SDK's types do not declare this.
      const context = replyTo(given as ServerContext, 'user_context')?.context;
      if (typeof context !== 'string') {
        return inputRequired({ inputRequests: { user_context: ask('Which context?', 'context') } });
      }
      return messages(say(`Use the following context: ${context}`));
    },
  );
}
