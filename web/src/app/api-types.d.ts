// What a request may say and what its answer holds, by method and path. All of it comes from the server's own description:
// `generated/` is made from /openapi.json by scripts/types.mjs.

import type { components, paths as Answers } from '../../generated/answers';
import type { paths as Requests } from '../../generated/requests';

/** The named shapes of answers. */
export type Shapes = components['schemas'];
export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export type Path = keyof Requests;

type Operation<Paths, M extends Method, P> = P extends keyof Paths ? Lowercase<M> extends keyof Paths[P] ? Paths[P][Lowercase<M>] : never : never;

/** The paths that can be asked by this method, with their parts as `{name}`. */
export type PathOf<M extends Method> = {
  [P in keyof Requests]: Operation<Requests, M, P> extends infer O ? [O] extends [object] ? P : never : never;
}[keyof Requests];

type Parameters<O, Where extends string> = O extends { parameters: infer All } ? Where extends keyof All ? All[Where] : undefined : undefined;
type Body<O> = O extends { requestBody?: infer R } ? [R] extends [undefined] ? undefined
  : NonNullable<R> extends { content: { 'application/json': infer B } } ? undefined extends R ? B | undefined : B : undefined : undefined;
/** A field of that name, which may be missing where nothing is asked for. */
type Field<Name extends string, T> = [T] extends [undefined] ? { [N in Name]?: undefined }
  : undefined extends T ? { [N in Name]?: T } : { [N in Name]: T };

export type How = {
  /** Goes without the session, whoever is signed in. */
  anonymous?: boolean;
  /** Another token to go with, of an anonymous request. */
  bearer?: string;
  signal?: AbortSignal;
};

type WishOf<O> = How & Field<'path', Parameters<O, 'path'>> & Field<'query', Parameters<O, 'query'>> & Field<'body', Body<O>>
  /** Idempotency-Key: the same for every try of one wish of the person. */
  & (Parameters<O, 'header'> extends { 'Idempotency-Key': string } ? { key: string } : { key?: undefined });
export type Wish<M extends Method, P> = WishOf<Operation<Requests, M, P>>;
/** The last argument of `request`, which may be left out where nothing must be said. */
export type Said<M extends Method, P> = {} extends Wish<M, P> ? [wish?: Wish<M, P>] : [wish: Wish<M, P>];

type Json<A> = A extends { content: { 'application/json': infer B } } ? B : null;
type AnswerOf<O> = O extends { responses: infer R } ? Json<R[keyof R & (200 | 201 | 202 | 204)]> : never;
export type Answer<M extends Method, P> = AnswerOf<Operation<Answers, M, P>>;
