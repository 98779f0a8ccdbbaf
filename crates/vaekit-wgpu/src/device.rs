//! Asking a device for something, and waiting for it.

use std::sync::PoisonError;

use vaekit::Failure;

use crate::gpu::Gpu;

/// What went wrong on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    OutOfMemory(String),
    #[error("the device was lost ({0}); open the GPU again")]
    Lost(String),
    #[error("{0}")]
    Other(String),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::OutOfMemory(reason) => Failure::OutOfMemory(reason),
            Fault::Lost(_) | Fault::Other(_) => Failure::Other(fault.to_string()),
        }
    }
}

/// Work that was handed to the device.
pub(crate) struct Submission {
    #[cfg(not(target_arch = "wasm32"))]
    index: wgpu::SubmissionIndex,
    #[cfg(target_arch = "wasm32")]
    done: futures_channel::oneshot::Receiver<()>,
}

impl Gpu {
    /// Does something with the device, and says what the device reports of it. A device that is shared with an application has
    /// a handler of errors that hears nothing of it.
    ///
    /// # Errors
    /// [`Failure`] if the device has no memory for it, refuses it, or is lost.
    pub async fn watched<T>(&self, work: impl FnOnce(&wgpu::Device) -> T) -> Result<T, Failure> {
        Ok(self.scoped(|device| Ok(work(device))).await?)
    }

    /// Does something whose errors the device reports aside, and waits for them.
    pub(crate) async fn scoped<T>(&self, work: impl FnOnce(&wgpu::Device) -> Result<T, Fault>) -> Result<T, Fault> {
        let (done, errors) = {
            let device = self.device();
            let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
            let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
            let done = work(device);
            let (validation, internal) = (validation.pop(), internal.pop());
            (done, (validation, internal, memory.pop()))
        };
        let (validation, internal, memory) = (errors.0.await, errors.1.await, errors.2.await);
        self.alive()?;
        match (memory, validation.or(internal)) {
            (Some(error), _) => Err(Fault::OutOfMemory(error.to_string())),
            (None, Some(error)) => {
                // What belongs to a lost device is refused without saying so, and of an application's nobody tells.
                self.answers().await?;
                Err(Fault::Other(error.to_string()))
            }
            (None, None) => done,
        }
    }

    /// That the device still maps a buffer, which a lost one does not.
    async fn answers(&self) -> Result<(), Fault> {
        let (usage, label) = (wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST, Some("is it lost"));
        let descriptor = wgpu::BufferDescriptor { label, size: 16, usage, mapped_at_creation: false };
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = self.device().create_buffer(&descriptor);
        let _ = scope.pop().await;
        let answer = self.read(&buffer, |_| ()).await;
        buffer.destroy();
        answer
    }

    /// That the device was not lost.
    pub(crate) fn alive(&self) -> Result<(), Fault> {
        // Natively a device tells only where it is polled.
        #[cfg(not(target_arch = "wasm32"))]
        drop(self.device().poll(wgpu::PollType::Poll));
        self.lost().map_or(Ok(()), |reason| Err(Fault::Lost(reason)))
    }

    /// Hands commands to the device.
    pub(crate) fn submit(&self, commands: wgpu::CommandBuffer) -> Submission {
        let index = self.queue().submit([commands]);
        #[cfg(target_arch = "wasm32")]
        {
            let _ = index;
            let (sender, done) = futures_channel::oneshot::channel();
            self.queue().on_submitted_work_done(move || {
                let _ = sender.send(());
            });
            Submission { done }
        }
        #[cfg(not(target_arch = "wasm32"))]
        Submission { index }
    }

    /// Hands over what was written to buffers and waits until it is there: natively it is held twice until then.
    pub(crate) fn hand_over(&self) {
        self.queue().submit([]);
        #[cfg(not(target_arch = "wasm32"))]
        drop(self.poll(None));
    }

    /// Waits until the device has done it.
    pub(crate) async fn wait(&self, submission: Submission) -> Result<(), Fault> {
        #[cfg(target_arch = "wasm32")]
        let waited = submission.done.await.map_err(|_| self.lost_for("it no longer answers".into()));
        #[cfg(not(target_arch = "wasm32"))]
        let waited = self.poll(Some(submission.index));
        self.alive()?;
        waited
    }

    fn lost_for(&self, reason: String) -> Fault {
        Fault::Lost(self.note_lost(reason))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn poll(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), Fault> {
        let wait = wgpu::PollType::Wait { submission_index, timeout: None };
        self.device().poll(wait).map(drop).map_err(|error| self.lost_for(error.to_string()))
    }

    /// The bytes of a buffer that can be mapped.
    pub(crate) async fn read<T>(&self, buffer: &wgpu::Buffer, take: impl FnOnce(&[u8]) -> T) -> Result<T, Fault> {
        let (sender, mapped) = futures_channel::oneshot::channel();
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        buffer.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        let refused = scope.pop();
        #[cfg(not(target_arch = "wasm32"))]
        self.poll(None)?;
        let (mapped, _) = (mapped.await, refused.await);
        self.alive()?;
        // Nothing else can keep a buffer that was created from being mapped.
        match mapped {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.lost_for("it maps no memory".into())),
            Err(_) => return Err(self.lost_for("it no longer answers".into())),
        }
        let taken = buffer.get_mapped_range(..).map(|bytes| take(&bytes));
        buffer.unmap();
        taken.map_err(|error| Fault::Other(error.to_string()))
    }
}

/// A lock that a panic elsewhere does not take along.
pub(crate) fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
