// Doubly linked lists of things that know their neighbours: no allocation, removal without a search. One thread.
#pragma once

namespace ghostip::relay {

// What an element derives from, once for each list that it can be in; Tag tells them apart. Unlinks itself when it
// dies.
template <typename Tag>
class ListHook {
  public:
    ListHook() = default;
    ListHook(const ListHook&) = delete;
    ListHook& operator=(const ListHook&) = delete;
    ~ListHook() { unlink(); }

    [[nodiscard]] bool linked() const { return next_ != this; }
    void unlink() {
        previous_->next_ = next_;
        next_->previous_ = previous_;
        previous_ = next_ = this;
    }

  private:
    template <typename T, typename AnyTag>
    friend class IntrusiveList;
    ListHook* previous_ = this;
    ListHook* next_ = this;
};

template <typename T, typename Tag>
class IntrusiveList {
  public:
    using Hook = ListHook<Tag>;

    [[nodiscard]] bool empty() const { return !head_.linked(); }
    [[nodiscard]] T* front() const { return empty() ? nullptr : static_cast<T*>(head_.next_); }
    // Also from where it stands now, in this list or another of the same kind.
    void push_back(T& element) {
        Hook& hook = element;
        hook.unlink();
        hook.previous_ = head_.previous_;
        hook.next_ = &head_;
        head_.previous_->next_ = &hook;
        head_.previous_ = &hook;
    }
    T* pop_front() {
        T* first = front();
        if (first != nullptr) static_cast<Hook*>(first)->unlink();
        return first;
    }
    // `visit` may unlink the element that it gets, and no other.
    template <typename Visit>
    void for_each(Visit visit) {
        for (Hook* hook = head_.next_; hook != &head_;) {
            Hook* next = hook->next_;
            visit(*static_cast<T*>(hook));
            hook = next;
        }
    }

  private:
    Hook head_;
};

}  // namespace ghostip::relay
