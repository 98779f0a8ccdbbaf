import type { Engine } from './engine';
import type { Library } from './models/library';
import type { Job, Lane } from './parts/job';
import type { PictureFile } from './picture';
import type { Signal } from './signal';

/** What the views share. */
export interface App {
  library: Library;
  engine: Engine;
  /** The picture that all views work on. */
  picture: Signal<PictureFile>;
  /** The engine does one thing at a time, for whichever view. */
  engineLane: Lane;
}

/** One of the page's parts. */
export interface View {
  /** Where its troubles are shown. */
  job: Job;
  /** Somebody came to it. */
  enter?(): void;
  /** Somebody left it. */
  leave?(): void;
  /** A picture or a model was given while it was shown. */
  given?(): void;
}
