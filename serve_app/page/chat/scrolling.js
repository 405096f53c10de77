// A scroller that stays at its newest content, unless the person looks at something else.

const NEAR_PX = 40;

export class Scrolling {
  constructor(scroller, content, newest) {
    this.scroller = scroller;
    this.newest = newest;
    this.following = false;
    this.growing = false;  // whether newest content comes at the end
    scroller.addEventListener("scroll", () => this.looked(), { passive: true });
    // A wheel or a finger that moves up means it at once, before the distance shows.
    scroller.addEventListener("wheel", (event) => event.deltaY < 0 && this.leave(), { passive: true });
    const resized = new ResizeObserver(() => this.moved());
    resized.observe(content);
    resized.observe(scroller);
    newest.addEventListener("click", () => this.follow());
  }

  /** Go to the end and stay there. */
  follow() {
    this.growing = this.following = true;
    this.moved();
  }

  /** Go to the beginning and stay there. */
  begin() {
    this.growing = this.following = false;
    this.scroller.scrollTop = 0;
    this.show();
  }

  leave() {
    if (this.scroller.scrollTop > 0) this.following = false;
    this.show();
  }

  looked() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.following = this.growing && scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.show();
  }

  moved() {
    if (this.following) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.show();
  }

  show() {
    this.newest.hidden = !this.growing || this.following || this.scroller.scrollHeight - this.scroller.clientHeight < NEAR_PX;
  }
}
