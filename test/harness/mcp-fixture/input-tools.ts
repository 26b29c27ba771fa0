import { randomBytes } from 'node:crypto';
import {
  acceptedContent,
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  createRequestStateCodec,
  type InputRequests,
  inputRequired,
  type McpServer,
  type ServerContext,
  type ToolCallback,
} from '@modelcontextprotocol/server';
import { text } from './content.ts';

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
export function ask(message: string, property: string, type: 'string' | 'boolean' = 'string') {
  const properties = { [property]: type === 'string' ? { type } : { type } };
  return inputRequired.elicit({ message, requestedSchema: { type: 'object', properties, required: [property] } });
}

/** The user's reply to a question, in a repeated call. */
export function replyTo({ mcpReq }: ServerContext, question: string): Record<string, unknown> | undefined {
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
  register('request_state', async (context) => {
    const confirmed = replyTo(context, 'confirm') !== undefined && context.mcpReq.requestState() !== undefined;
    return confirmed ? text('state-ok') : confirm();
  });
  register('tampered_state', async (context) => {
    const confirmed = replyTo(context, 'confirm') !== undefined && context.mcpReq.requestState() !== undefined;
    return confirmed ? text('integrity-ok') : confirm();
  });
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

async function confirm() {
  const inputRequests = { confirm: ask('Please confirm', 'ok', 'boolean') };
  return inputRequired({ inputRequests, requestState: await stateCodec.mint({ round: 1 }) });
}

function textOf(response: unknown): string | undefined {
  return (response as { content?: { text?: string } } | undefined)?.content?.text;
}

function rootsOf(response: unknown): unknown[] | undefined {
  return (response as { roots?: unknown[] } | undefined)?.roots;
}
