import type { YCodeCell } from '@jupyter/ydoc';
import { CodeCellModel } from '@jupyterlab/cells';
import { IOutput, isStream } from '@jupyterlab/nbformat';
import { JSONExt } from '@lumino/coreutils';
import type { IChange } from './following';

const GONE = -1;

const joined = (text: unknown): string => (Array.isArray(text) ? text.join('') : String(text));

/** One run of a cell as the page shows it. */
export class Shown {
  private readonly _told: { name: string; at: number }[] = []; // name of a stream; index in the cell, or GONE
  private _length = 0; // of the cell's outputs, if nobody else has changed them
  private _begun = false;

  constructor(readonly model: CodeCellModel) {}

  /** By this, and not by the model's outputs, as one changes a document that others change too. */
  private get _shared(): YCodeCell {
    return this.model.sharedModel as YCodeCell;
  }

  change(change: IChange): void {
    const { model } = this;
    if (!this._begun) {
      this._begun = true;
      this._begin(change.outputs);
    } else {
      if (this._shared.getOutputs().length !== this._length) {
        this._told.forEach(one => (one.at = GONE)); // its user has cleared them: what is new is shown
      }
      this._cut(change.same);
      if (change.text) {
        this._append(change.text);
      }
      this._add(change.outputs);
    }
    this._length = this._shared.getOutputs().length;
    if (model.executionCount !== change.count) {
      model.executionCount = change.count;
    }
    const state = change.running ? 'running' : 'idle';
    if (model.executionState !== state) {
      model.executionState = state;
    }
  }

  /** Makes the cell show these, which begin as a rule with what the file had. */
  private _begin(outputs: IOutput[]): void {
    const shared = this._shared;
    const there = shared.getOutputs();
    let same = 0;
    while (same < there.length && same < outputs.length && JSONExt.deepEqual(plain(there[same]), plain(outputs[same]))) {
      same++;
    }
    const last = there[same];
    const next = outputs[same];
    const grows = same === there.length - 1 && next && isStream(last) && isStream(next) && last.name === next.name;
    if (grows && joined(next.text).startsWith(joined(last.text))) {
      shared.appendStreamOutput(same, joined(next.text).slice(joined(last.text).length));
      same++;
    }
    outputs.slice(0, same).forEach((output, at) => this._told.push({ name: nameOf(output), at }));
    if (same < there.length) {
      shared.updateOutputs(same, there.length, []);
    }
    this.model.trusted = true; // it was run here
    this._add(outputs.slice(same));
  }

  private _cut(same: number): void {
    const first = this._told.splice(same).find(one => one.at !== GONE);
    if (first) {
      this._shared.updateOutputs(first.at, this._shared.getOutputs().length, []);
    }
  }

  private _append(text: string): void {
    const last = this._told[this._told.length - 1];
    if (last.at !== GONE) {
      this._shared.appendStreamOutput(last.at, text);
      return;
    }
    this._told.pop();
    this._add([{ output_type: 'stream', name: last.name as 'stdout', text }]);
  }

  private _add(outputs: IOutput[]): void {
    if (outputs.length === 0) {
      return;
    }
    const shared = this._shared;
    const at = shared.getOutputs().length;
    shared.updateOutputs(at, at, outputs);
    outputs.forEach((output, index) => this._told.push({ name: nameOf(output), at: at + index }));
  }
}

const nameOf = (output: IOutput): string => (isStream(output) ? output.name : '');

/** An output without what is of no account, as the server compares them. */
function plain(output: IOutput): IOutput {
  const { transient, metadata, ...rest } = output;
  return ('text' in rest ? { ...rest, text: joined(rest.text) } : rest) as IOutput;
}
