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
    /// Does something whose errors the device reports aside, and waits for them.
    pub(crate) async fn scoped<T>(&self, work: impl FnOnce(&wgpu::Device) -> T) -> Result<T, Fault> {
        let (value, errors) = {
            let device = self.device();
            let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
            let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
            let value = work(device);
            let (validation, internal) = (validation.pop(), internal.pop());
            (value, (validation, internal, memory.pop()))
        };
        let (validation, internal, memory) = (errors.0.await, errors.1.await, errors.2.await);
        self.alive()?;
        match (memory, validation.or(internal)) {
            (Some(error), _) => Err(Fault::OutOfMemory(error.to_string())),
            (None, Some(error)) => Err(Fault::Other(error.to_string())),
            (None, None) => Ok(value),
        }
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

    /// Waits until the device has done it.
    pub(crate) async fn wait(&self, submission: Submission) -> Result<(), Fault> {
        #[cfg(target_arch = "wasm32")]
        let waited = submission.done.await.map_err(|_| self.lost_for("it no longer answers".into()));
        #[cfg(not(target_arch = "wasm32"))]
        let waited = self.poll(Some(submission.index));
        self.alive()?;
        waited
    }

    /// Notes that the device no longer works.
    fn lost_for(&self, reason: String) -> Fault {
        Fault::Lost(locked(&self.shared.lost).get_or_insert(reason).clone())
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn poll(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), Fault> {
        let wait = wgpu::PollType::Wait { submission_index, timeout: None };
        self.device().poll(wait).map(drop).map_err(|error| self.lost_for(error.to_string()))
    }

    /// The bytes of a buffer that can be mapped.
    pub(crate) async fn read<T>(&self, buffer: &wgpu::Buffer, take: impl FnOnce(&[u8]) -> T) -> Result<T, Fault> {
        let (sender, mapped) = futures_channel::oneshot::channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        #[cfg(not(target_arch = "wasm32"))]
        self.poll(None)?;
        let mapped = mapped.await;
        self.alive()?;
        match mapped {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Fault::Other(error.to_string())),
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
